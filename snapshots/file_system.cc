// snapshots/file_system.cc - the host's files: plain system calls, close-on-exec, owner only.
#include "snapshots/file_system.h"

#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace snowglobe::snapshots {

namespace {

base::ErrorCode code_of(int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      return base::ErrorCode::kNotFound;
    case EEXIST:
      return base::ErrorCode::kAlreadyExists;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return base::ErrorCode::kResourceExhausted;
    default:
      return base::ErrorCode::kIo;
  }
}

class HostFile final : public File {
 public:
  HostFile(int descriptor, FileSystem::Path path) : fd_(descriptor), path_(std::move(path)) {}
  HostFile(const HostFile&) = delete;
  HostFile& operator=(const HostFile&) = delete;
  ~HostFile() override { ::close(fd_); }

  base::Result<void> append(base::ConstBytes bytes) override {
    while (!bytes.empty()) {
      const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return os_error("write", path_, errno);
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    return {};
  }

  base::Result<void> read_at(std::uint64_t offset, base::Bytes out) override {
    while (!out.empty()) {
      const ssize_t got = ::pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return os_error("read", path_, errno);
      if (got == 0) {
        return base::Error{
            base::ErrorCode::kCorrupt,
            fmt::format("read '{}': it ends before byte {}", path_.string(), offset + out.size())};
      }
      offset += static_cast<std::uint64_t>(got);
      out = out.subspan(static_cast<std::size_t>(got));
    }
    return {};
  }

  base::Result<void> sync() override {
    if (::fsync(fd_) != 0) return os_error("sync", path_, errno);
    return {};
  }

  base::Result<std::uint64_t> size() override {
    struct stat status {};
    if (::fstat(fd_, &status) != 0) return os_error("look at", path_, errno);
    return static_cast<std::uint64_t>(status.st_size);
  }

 private:
  const int fd_;
  const FileSystem::Path path_;
};

base::Result<std::unique_ptr<File>> open_with(const FileSystem::Path& path, int flags,
                                              const char* what) {
  const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
  if (descriptor < 0) return os_error(what, path, errno);
  return std::unique_ptr<File>(std::make_unique<HostFile>(descriptor, path));
}

}  // namespace

base::Error os_error(const char* what, const std::filesystem::path& path, int error_number) {
  const std::string text = std::error_code(error_number, std::generic_category()).message();
  return {code_of(error_number), fmt::format("{} '{}': {}", what, path.string(), text)};
}

base::Result<std::unique_ptr<File>> HostFileSystem::create(const Path& path) {
  return open_with(path, O_RDWR | O_CREAT | O_EXCL | O_APPEND, "create");
}

// O_NONBLOCK: a pipe that somebody put there must not make us wait for its other end.
base::Result<std::unique_ptr<File>> HostFileSystem::open(const Path& path) {
  return open_with(path, O_RDONLY | O_NONBLOCK, "open");
}

base::Result<void> HostFileSystem::rename(const Path& from, const Path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return os_error("rename to", to, errno);
  return {};
}

base::Result<void> HostFileSystem::remove(const Path& path) {
  if (::unlink(path.c_str()) != 0) return os_error("remove", path, errno);
  return {};
}

base::Result<void> HostFileSystem::make_directory(const Path& path) {
  if (::mkdir(path.c_str(), 0700) != 0) return os_error("make the folder", path, errno);
  return {};
}

base::Result<void> HostFileSystem::sync_directory(const Path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return os_error("open the folder", path, errno);
  const int result = ::fsync(descriptor);
  const int error_number = errno;
  ::close(descriptor);
  if (result != 0) return os_error("sync the folder", path, error_number);
  return {};
}

base::Result<std::vector<std::string>> HostFileSystem::list(const Path& path) {
  std::error_code error;
  std::vector<std::string> names;
  std::filesystem::directory_iterator entries(path, error);
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error))
    names.push_back(entries->path().filename().string());
  if (error) return os_error("list", path, error.value());
  return names;
}

bool HostFileSystem::exists(const Path& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0;
}

}  // namespace snowglobe::snapshots
