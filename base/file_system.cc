// base/file_system.cc - the host's files: plain system calls, close-on-exec, owner only.
#include "base/file_system.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <system_error>
#include <unistd.h>

namespace snowglobe::base {
namespace {

using Path = FileSystem::Path;

ErrorCode code_of(int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      return ErrorCode::kNotFound;
    case EEXIST:
      return ErrorCode::kAlreadyExists;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return ErrorCode::kResourceExhausted;
    default:
      return ErrorCode::kIo;
  }
}

template <class Part>
std::vector<iovec> vectors_of(std::span<const Part> parts) {
  std::vector<iovec> vectors;
  vectors.reserve(parts.size());
  for (const Part& part : parts)
    vectors.push_back({const_cast<std::uint8_t*>(part.data()), part.size()});
  return vectors;
}

/// Takes `done` bytes off the front.
std::span<iovec> rest_of(std::span<iovec> vectors, std::size_t done) {
  while (!vectors.empty() && done >= vectors.front().iov_len) {
    done -= vectors.front().iov_len;
    vectors = vectors.subspan(1);
  }
  if (done != 0) {
    vectors.front().iov_base = static_cast<std::uint8_t*>(vectors.front().iov_base) + done;
    vectors.front().iov_len -= done;
  }
  return vectors;
}

class HostFile final : public File {
 public:
  HostFile(int descriptor, Path path, Identity identity)
      : fd_(descriptor), path_(std::move(path)), identity_(identity) {}
  HostFile(const HostFile&) = delete;
  HostFile& operator=(const HostFile&) = delete;
  ~HostFile() override { ::close(fd_); }

  Result<bool> read(std::uint64_t offset, std::span<const Bytes> parts, Wait wait) override {
    std::vector<iovec> vectors = vectors_of(parts);
    for (std::span<iovec> left = rest_of(vectors, 0); !left.empty();) {
      const int count = static_cast<int>(std::min<std::size_t>(left.size(), IOV_MAX));
      const ssize_t got = ::preadv2(fd_, left.data(), count, static_cast<off_t>(offset),
                                    wait == Wait::kNo ? RWF_NOWAIT : 0);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && wait == Wait::kNo && (errno == EAGAIN || errno == EOPNOTSUPP)) return false;
      if (got < 0) return os_error("read", path_, errno);
      if (got == 0) {
        return Error{ErrorCode::kCorrupt, "read '" + path_.string() + "': it was cut off at byte " +
                                              std::to_string(offset)};
      }
      offset += static_cast<std::uint64_t>(got);
      left = rest_of(left, static_cast<std::size_t>(got));
    }
    return true;
  }

  Result<void> write(std::uint64_t offset, std::span<const ConstBytes> parts) override {
    std::vector<iovec> vectors = vectors_of(parts);
    for (std::span<iovec> left = vectors; !left.empty();) {
      const std::size_t count = std::min<std::size_t>(left.size(), IOV_MAX);
      std::size_t bytes = 0;
      for (const iovec& part : left.first(count))
        bytes += part.iov_len;
      const ssize_t put =
          ::pwritev(fd_, left.data(), static_cast<int>(count), static_cast<off_t>(offset));
      if (put < 0 && errno == EINTR) continue;  // before it wrote anything
      if (put < 0) return os_error("write", path_, errno);
      if (static_cast<std::size_t>(put) != bytes) {
        return Error{
            ErrorCode::kResourceExhausted,
            "write '" + path_.string() + "': the host took only a part; is its disk full?"};
      }
      offset += bytes;
      left = left.subspan(count);
    }
    return {};
  }

  // Without a flag to wait it does not look at errors of the file (sync_file_range(2)).
  void begin_write_back(std::uint64_t offset, std::uint64_t length) override {
    static_cast<void>(::sync_file_range(fd_, static_cast<off_t>(offset), static_cast<off_t>(length),
                                        SYNC_FILE_RANGE_WRITE));
  }

  Result<void> sync() override {
    if (::fdatasync(fd_) != 0) return os_error("sync", path_, errno);
    return {};
  }

  Result<bool> punch(std::uint64_t offset, std::uint64_t length) override {
    int result = 0;
    do {
      result = ::fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                           static_cast<off_t>(offset), static_cast<off_t>(length));
    } while (result != 0 && errno == EINTR);
    if (result == 0) return true;
    if (errno == EOPNOTSUPP || errno == ENOSYS) return false;
    return os_error("punch a hole into", path_, errno);
  }

  Result<void> set_size(std::uint64_t bytes) override {
    if (::ftruncate(fd_, static_cast<off_t>(bytes)) != 0)
      return os_error("set the size of", path_, errno);
    return {};
  }

  Result<std::uint64_t> size() override {
    struct stat status {};
    if (::fstat(fd_, &status) != 0) return os_error("look at", path_, errno);
    return static_cast<std::uint64_t>(status.st_size);
  }

  Result<std::uint64_t> allocated() override {
    struct stat status {};
    if (::fstat(fd_, &status) != 0) return os_error("look at", path_, errno);
    constexpr std::uint64_t kUnit = 512;  // stat(2), whatever the file system's block is
    return static_cast<std::uint64_t>(status.st_blocks) * kUnit;
  }

  std::optional<std::pair<std::uint64_t, std::uint64_t>> next_data(std::uint64_t from,
                                                                   std::uint64_t end) override {
    const off_t data = ::lseek(fd_, static_cast<off_t>(from), SEEK_DATA);
    if (data < 0) {
      if (errno == ENXIO) return std::nullopt;
      return std::pair(from, end);  // not known: it may all be data
    }
    if (static_cast<std::uint64_t>(data) >= end) return std::nullopt;
    const off_t hole = ::lseek(fd_, data, SEEK_HOLE);
    return std::pair(static_cast<std::uint64_t>(data),
                     hole < 0 ? end : std::min<std::uint64_t>(end, hole));
  }

  [[nodiscard]] Identity identity() const override { return identity_; }
  [[nodiscard]] int descriptor() const override { return fd_; }

 private:
  const int fd_;
  const Path path_;
  const Identity identity_;
};

class HostFileSystem final : public FileSystem {
 public:
  Result<std::unique_ptr<File>> create(const Path& path) override {
    return open_with(path, O_RDWR | O_CREAT | O_EXCL, "create");
  }

  // O_NONBLOCK: a pipe that somebody put there must not make us wait for its other end.
  Result<std::unique_ptr<File>> open(const Path& path, Access access) override {
    const int flags = access == Access::kWrite ? O_RDWR : O_RDONLY;
    return open_with(path, flags | O_NONBLOCK | O_NOFOLLOW, "open");
  }

  Result<void> rename(const Path& from, const Path& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) return os_error("rename to", to, errno);
    return {};
  }

  Result<void> remove(const Path& path) override {
    if (::unlink(path.c_str()) != 0) return os_error("remove", path, errno);
    return {};
  }

  Result<void> make_directory(const Path& path) override {
    if (::mkdir(path.c_str(), 0700) != 0) return os_error("make the folder", path, errno);
    return {};
  }

  Result<void> sync_directory(const Path& path) override {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return os_error("open the folder", path, errno);
    const int result = ::fsync(descriptor);
    const int error_number = errno;
    ::close(descriptor);
    if (result != 0) return os_error("sync the folder", path, error_number);
    return {};
  }

  Result<std::vector<std::string>> list(const Path& path) override {
    std::error_code error;
    std::vector<std::string> names;
    std::filesystem::directory_iterator entries(path, error);
    for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error))
      names.push_back(entries->path().filename().string());
    if (error) return os_error("list", path, error.value());
    return names;
  }

  bool exists(const Path& path) override {
    struct stat status {};
    return ::lstat(path.c_str(), &status) == 0;
  }

 private:
  static Result<std::unique_ptr<File>> open_with(const Path& path, int flags, const char* what) {
    const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
    if (descriptor < 0) return os_error(what, path, errno);
    struct stat status {};
    const bool known = ::fstat(descriptor, &status) == 0;
    const int reason = errno;
    auto file =
        std::make_unique<HostFile>(descriptor, path, File::Identity(status.st_dev, status.st_ino));
    if (!known) return os_error(what, path, reason);
    if (!S_ISREG(status.st_mode)) {
      return Error{ErrorCode::kInvalidArgument,
                   "open '" + path.string() + "': it is not a regular file"};
    }
    return std::unique_ptr<File>(std::move(file));
  }
};

}  // namespace

Result<void> File::read_at(std::uint64_t offset, Bytes out) {
  auto done = read(offset, {&out, 1}, Wait::kYes);
  if (!done) return done.error();
  return {};
}

Result<void> File::write_at(std::uint64_t offset, ConstBytes from) {
  return write(offset, {&from, 1});
}

Result<std::unique_ptr<File>> FileSystem::open_or_create(const Path& path) {
  for (;;) {
    auto there = open(path, Access::kWrite);
    if (there || there.error().code != ErrorCode::kNotFound) return there;
    auto made = create(path);
    if (made || made.error().code != ErrorCode::kAlreadyExists) return made;
  }
}

Result<void> FileSystem::remove_if_there(const Path& path) {
  if (!exists(path)) return {};
  auto removed = remove(path);
  if (!removed && removed.error().code == ErrorCode::kNotFound) return {};
  return removed;
}

Result<void> FileSystem::rename_and_sync(const Path& from, const Path& to) {
  if (auto done = rename(from, to); !done) return done;
  return sync_directory(to.parent_path());
}

Result<std::unique_ptr<File>> FileSystem::write_file(const Path& path, ConstBytes contents) {
  if (auto done = remove_if_there(path); !done) return done.error();
  auto file = create(path);
  if (!file) return file;
  if (auto done = file.value()->write_at(0, contents); !done) return done.error();
  return file;
}

Result<void> FileSystem::replace_file(const Path& path, ConstBytes contents) {
  Path fresh = path;
  fresh += ".new";
  {
    auto file = write_file(fresh, contents);
    if (!file) return file.error();
    if (auto done = file.value()->sync(); !done) return done;
  }
  return rename_and_sync(fresh, path);
}

Result<std::vector<std::uint8_t>> FileSystem::read_file(const Path& path, std::uint64_t limit) {
  auto file = open(path, Access::kRead);
  if (!file) return file.error();
  const auto size = file.value()->size();
  if (!size) return size.error();
  if (size.value() > limit) {
    return Error{ErrorCode::kCorrupt, "read '" + path.string() + "': it is too long"};
  }
  std::vector<std::uint8_t> bytes(size.value());
  if (auto done = file.value()->read_at(0, bytes); !done) return done.error();
  return bytes;
}

FileSystem& FileSystem::host() {
  static HostFileSystem* const files = new HostFileSystem;  // users outlive static destructors
  return *files;
}

Error os_error(const char* what, const std::filesystem::path& path, int error_number) {
  std::string text = what;
  text.append(" '").append(path.string()).append("': ");
  return {code_of(error_number), text.append(std::generic_category().message(error_number))};
}

}  // namespace snowglobe::base
