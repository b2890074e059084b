// api/src/files.cc - descriptors, and files that appear whole or not at all.
#include "api/src/files.h"

#include "api/src/errors.h"

#include <cerrno>
#include <fcntl.h>
#include <system_error>
#include <unistd.h>

namespace snowglobe::detail {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorCode;

Descriptor::~Descriptor() {
  if (number_ >= 0) ::close(number_);
}

Error errno_error(const char* what, const fs::path& file, int reason) {
  const ErrorCode code = reason == ENOSPC || reason == EDQUOT ? ErrorCode::kResourceExhausted
                         : reason == ENOENT                   ? ErrorCode::kNotFound
                                                              : ErrorCode::kIo;
  std::string text = what;
  text.append(" '").append(file.string()).append("': ");
  return {code, text.append(std::system_category().message(reason))};
}

void throw_errno(const char* what, const fs::path& file, int reason) {
  throw_error(errno_error(what, file, reason));
}

base::Result<void> write_at(int file, base::ConstBytes bytes, std::uint64_t offset,
                            const fs::path& name) {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno_error("write", name, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  return {};
}

base::Result<void> sync_folder(const fs::path& folder) {
  const Descriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened.get() < 0) return errno_error("open", folder, errno);
  if (::fsync(opened.get()) != 0) return errno_error("sync", folder, errno);
  return {};
}

base::Result<void> rename_file(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return errno_error("rename", from, errno);
  return sync_folder(to.parent_path());
}

base::Result<void> write_new_file(const fs::path& file, std::string_view text) {
  const Descriptor opened(
      ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (opened.get() < 0) return errno_error("make", file, errno);
  const base::ConstBytes bytes(
      static_cast<const std::uint8_t*>(static_cast<const void*>(text.data())), text.size());
  if (auto done = write_at(opened.get(), bytes, 0, file); !done) return done;
  if (::fsync(opened.get()) != 0) return errno_error("sync", file, errno);
  return {};
}

base::Result<void> replace_file(const fs::path& file, std::string_view text) {
  fs::path fresh = file;
  fresh += ".new";
  if (auto done = write_new_file(fresh, text); !done) return done;
  return rename_file(fresh, file);
}

}  // namespace snowglobe::detail
