// cli/files.h - files of the host that verbs read and write.
#pragma once

#include <filesystem>
#include <fstream>

namespace snowglobe::cli {

/// Throws Failure unless there is a file that can be read: not found, or a folder.
void require_file(const std::filesystem::path& path);

/// What `file` is to be made in must be there; exit code 4 if not.
void require_folder_of(const std::filesystem::path& file);

/// A file that gets its name when it is whole: what was there before stays until then. Devices and
/// pipes are written as they are. Throws Failure.
class NewFile {
 public:
  explicit NewFile(const std::filesystem::path& path);
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  ~NewFile();
  [[nodiscard]] std::ostream& stream() { return stream_; }
  /// All of it was written.
  void keep();

 private:
  std::filesystem::path path_, work_;
  std::ofstream stream_;
};

}  // namespace snowglobe::cli
