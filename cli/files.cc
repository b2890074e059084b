// cli/files.cc - files of the host that verbs read and write.
#include "cli/files.h"

#include "cli/failure.h"
#include <cerrno>
#include <fmt/format.h>
#include <system_error>

namespace snowglobe::cli {
namespace fs = std::filesystem;
namespace {

Failure cannot(const char* what, const fs::path& path, ExitCode code = kFailed) {
  return {code, fmt::format("cannot {} {}: {}", what, path.string(),
                            std::system_category().message(errno))};
}

}  // namespace

void require_file(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored))
    throw Failure(kUsage, fmt::format("{} is a folder; a file is needed", path.string()));
  errno = 0;
  if (!std::ifstream(path, std::ios::binary)) throw cannot("read", path, kNotFound);
}

void require_folder_of(const fs::path& file) {
  std::error_code ignored;
  if (file.has_parent_path() && !fs::is_directory(file.parent_path(), ignored))
    throw Failure(kNotFound, fmt::format("there is no folder {}", file.parent_path().string()));
}

NewFile::NewFile(const fs::path& path) : path_(path), work_(path) {
  std::error_code ignored;
  const auto kind = fs::status(path, ignored).type();
  if (kind == fs::file_type::not_found || kind == fs::file_type::regular) work_ += ".part";
  errno = 0;
  stream_.open(work_, std::ios::binary);
  if (!stream_) throw cannot("write", path_);
}

NewFile::~NewFile() {
  std::error_code ignored;
  if (work_ != path_) fs::remove(work_, ignored);
}

void NewFile::keep() {
  errno = 0;
  stream_.close();
  if (!stream_) throw cannot("write", path_);
  if (work_ == path_) return;
  fs::rename(work_, path_);
  work_ = path_;
}

}  // namespace snowglobe::cli
