// api/src/files.h - descriptors, and files of a database's folder that appear whole or not at all.
#pragma once

#include "base/bytes.h"
#include "base/error.h"

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

namespace snowglobe::detail {

/// Closes with the scope.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor();

  [[nodiscard]] int get() const { return number_; }
  int release() { return std::exchange(number_, -1); }

 private:
  int number_ = -1;
};

/// "`what` 'file': reason". kResourceExhausted (no room), kNotFound, else kIo.
base::Error errno_error(const char* what, const std::filesystem::path& file, int reason);
/// The same as the face's Error (io, or resource_exhausted).
[[noreturn]] void throw_errno(const char* what, const std::filesystem::path& file, int reason);

/// All of `bytes`. Errors: kIo, kResourceExhausted.
base::Result<void> write_at(int file, base::ConstBytes bytes, std::uint64_t offset,
                            const std::filesystem::path& name);

/// Makes what was done to the names in a folder durable.
base::Result<void> sync_folder(const std::filesystem::path& folder);
/// As sync_folder() of the folder that a file is in, after the file took its name.
base::Result<void> rename_file(const std::filesystem::path& from, const std::filesystem::path& to);
/// Makes or overwrites a file; its contents are durable on return, its name not.
base::Result<void> write_new_file(const std::filesystem::path& file, std::string_view text);
/// Puts `text` into `file` by way of another file beside it: a reader, and whoever comes after a
/// power cut, finds the old or the new one. Durable on return.
base::Result<void> replace_file(const std::filesystem::path& file, std::string_view text);

}  // namespace snowglobe::detail
