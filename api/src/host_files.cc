// api/src/host_files.cc - the host's files: plain system calls, close-on-exec, owner only.
#include "api/src/host_files.h"

#include "snapshots/file_system.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <vector>

namespace snowglobe::detail {
namespace {

using base::Error;
using base::ErrorCode;
using snapshots::os_error;
using vm::u64;

using Path = HostFiles::Path;

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

class RealFile final : public HostFile {
 public:
  RealFile(int descriptor, Path path, Identity identity)
      : fd_(descriptor), path_(std::move(path)), identity_(identity) {}
  RealFile(const RealFile&) = delete;
  RealFile& operator=(const RealFile&) = delete;
  ~RealFile() override { ::close(fd_); }

  base::Result<bool> read(u64 offset, std::span<const base::Bytes> parts, Wait wait) override {
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
      offset += static_cast<u64>(got);
      left = rest_of(left, static_cast<std::size_t>(got));
    }
    return true;
  }

  base::Result<void> write(u64 offset, std::span<const base::ConstBytes> parts) override {
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

  base::Result<void> sync() override {
    if (::fdatasync(fd_) != 0) return os_error("sync", path_, errno);
    return {};
  }

  base::Result<bool> punch(u64 offset, u64 length) override {
    int result = 0;
    do {
      result = ::fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                           static_cast<off_t>(offset), static_cast<off_t>(length));
    } while (result != 0 && errno == EINTR);
    if (result == 0) return true;
    if (errno == EOPNOTSUPP || errno == ENOSYS) return false;
    return os_error("punch a hole into", path_, errno);
  }

  base::Result<void> set_size(u64 bytes) override {
    if (::ftruncate(fd_, static_cast<off_t>(bytes)) != 0)
      return os_error("set the size of", path_, errno);
    return {};
  }

  base::Result<u64> size() override {
    struct stat status {};
    if (::fstat(fd_, &status) != 0) return os_error("look at", path_, errno);
    return static_cast<u64>(status.st_size);
  }

  base::Result<u64> allocated() override {
    struct stat status {};
    if (::fstat(fd_, &status) != 0) return os_error("look at", path_, errno);
    constexpr u64 kUnit = 512;  // stat(2), whatever the file system's block is
    return static_cast<u64>(status.st_blocks) * kUnit;
  }

  std::optional<std::pair<u64, u64>> next_data(u64 from, u64 end) override {
    const off_t data = ::lseek(fd_, static_cast<off_t>(from), SEEK_DATA);
    if (data < 0) {
      if (errno == ENXIO) return std::nullopt;
      return std::pair(from, end);  // not known: it may all be data
    }
    if (static_cast<u64>(data) >= end) return std::nullopt;
    const off_t hole = ::lseek(fd_, data, SEEK_HOLE);
    return std::pair(static_cast<u64>(data), hole < 0 ? end : std::min<u64>(end, hole));
  }

  [[nodiscard]] Identity identity() const override { return identity_; }

 private:
  const int fd_;
  const Path path_;
  const Identity identity_;
};

class RealFiles final : public HostFiles {
 public:
  base::Result<std::unique_ptr<HostFile>> create(const Path& path) override {
    return open_with(path, O_RDWR | O_CREAT | O_EXCL, "create");
  }
  // O_NONBLOCK: a pipe that somebody put there must not make us wait for its other end.
  base::Result<std::unique_ptr<HostFile>> open(const Path& path, Access access) override {
    return open_with(path, (access == Access::kWrite ? O_RDWR : O_RDONLY) | O_NONBLOCK, "open");
  }
  base::Result<void> rename(const Path& from, const Path& to) override {
    return files_.rename(from, to);
  }
  base::Result<void> remove(const Path& path) override { return files_.remove(path); }
  base::Result<void> sync_folder(const Path& path) override { return files_.sync_directory(path); }
  bool exists(const Path& path) override { return files_.exists(path); }

 private:
  static base::Result<std::unique_ptr<HostFile>> open_with(const Path& path, int flags,
                                                           const char* what) {
    const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
    if (descriptor < 0) return os_error(what, path, errno);
    struct stat status {};
    const bool known = ::fstat(descriptor, &status) == 0;
    const int reason = errno;
    auto file = std::make_unique<RealFile>(descriptor, path,
                                           HostFile::Identity(status.st_dev, status.st_ino));
    if (!known) return os_error(what, path, reason);
    if (!S_ISREG(status.st_mode)) {
      return Error{ErrorCode::kInvalidArgument,
                   "open '" + path.string() + "': it is not a regular file"};
    }
    return std::unique_ptr<HostFile>(std::move(file));
  }

  snapshots::HostFileSystem files_;
};

}  // namespace

base::Result<void> HostFile::read_all(u64 offset, base::Bytes out) {
  auto done = read(offset, {&out, 1}, Wait::kYes);
  if (!done) return done.error();
  return {};
}

base::Result<void> HostFile::write_all(u64 offset, base::ConstBytes from) {
  return write(offset, {&from, 1});
}

HostFiles& HostFiles::host() {
  static RealFiles* const files = new RealFiles;  // databases may outlive static destructors
  return *files;
}

}  // namespace snowglobe::detail
