// tests/support/temporary_folder.h - an empty folder that is gone with the object.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>
#include <unistd.h>

namespace snowglobe::test {

class TemporaryFolder {
 public:
  /// Inside `parent`; where nothing is said, inside the system's place for temporary files.
  explicit TemporaryFolder(const std::filesystem::path& parent = {}) {
    const auto place = parent.empty() ? std::filesystem::temp_directory_path() : parent;
    std::string name = (place / "snowglobe-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder " + name);
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!kept_) std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// It stays, for whoever wants to look.
  void keep() { kept_ = true; }

 private:
  std::filesystem::path path_;
  bool kept_ = false;
};

/// For many small files that are synced: in memory, if the host has such a place.
inline std::filesystem::path place_in_memory() {
  return ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : std::filesystem::path();
}

}  // namespace snowglobe::test
