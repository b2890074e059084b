// api/src/ready_files.cc - files of the user's cache: written whole, believed only by checksum.
#include "api/src/ready_files.h"

#include "api/src/files.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <xxhash.h>

namespace snowglobe::detail {

namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorCode;

std::string quoted(const fs::path& file) {
  std::string text = "'";
  return text.append(file.string()).append("'");
}

Error damaged(const fs::path& file, const char* what) {
  return {ErrorCode::kCorrupt, quoted(file).append(" ").append(what)};
}

int open_new(const fs::path& file) {
  return ::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

/// Somebody else's file is none of ours, wherever it lies.
base::Result<int> open_own(const fs::path& file, std::uint64_t& size) {
  Descriptor opened(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (opened.get() < 0) return errno_error("open", file, errno);
  struct stat status {};
  if (::fstat(opened.get(), &status) != 0) return errno_error("look at", file, errno);
  constexpr mode_t kOthersMayWrite = S_IWGRP | S_IWOTH;
  if (!S_ISREG(status.st_mode) || status.st_uid != ::geteuid() ||
      (status.st_mode & kOthersMayWrite) != 0) {
    return damaged(file, "is not this user's own file");
  }
  size = static_cast<std::uint64_t>(status.st_size);
  return opened.release();
}

}  // namespace

std::uint64_t checksum(base::ConstBytes bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

bool make_own_folder(const fs::path& folder) {
  std::error_code error;
  if (folder.has_parent_path()) fs::create_directories(folder.parent_path(), error);
  return ::mkdir(folder.c_str(), 0700) == 0 || errno == EEXIST;
}

base::Result<void> write_file(const fs::path& file, base::ConstBytes bytes) {
  const Descriptor opened(open_new(file));
  if (opened.get() < 0) return errno_error("make", file, errno);
  return write_at(opened.get(), bytes, 0, file);
}

base::Result<std::vector<std::uint64_t>> write_chunks(
    const fs::path& file, std::uint64_t size,
    const std::function<bool(std::uint64_t, base::Bytes)>& fill) {
  const Descriptor opened(open_new(file));
  if (opened.get() < 0) return errno_error("make", file, errno);
  const std::uint64_t whole = base::align_up(size, vm::kPageSize);
  if (::ftruncate(opened.get(), static_cast<off_t>(whole)) != 0) {
    return errno_error("make room for", file, errno);
  }
  std::vector<std::uint64_t> sums;
  std::vector<std::uint8_t> chunk(kReadyChunk);
  for (std::uint64_t offset = 0; offset < whole; offset += kReadyChunk) {
    const base::Bytes bytes = base::Bytes(chunk).first(std::min(kReadyChunk, whole - offset));
    std::ranges::fill(bytes, std::uint8_t{0});
    if (!fill(offset, bytes.first(std::min<std::uint64_t>(bytes.size(), size - offset)))) {
      return Error{ErrorCode::kCorrupt,
                   "what is to be written to '" + file.string() + "' is not what was stored"};
    }
    sums.push_back(checksum(bytes));
    if (base::all_zero(bytes)) continue;
    if (auto done = write_at(opened.get(), bytes, offset, file); !done) return done.error();
  }
  return sums;
}

base::Result<std::vector<std::uint8_t>> read_own_file(const fs::path& file, std::uint64_t limit) {
  std::uint64_t size = 0;
  auto number = open_own(file, size);
  if (!number) return number.error();
  const Descriptor opened(number.value());
  if (size > limit) return damaged(file, "is too long");
  std::vector<std::uint8_t> bytes(size);
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count =
        ::pread(opened.get(), &bytes[done], bytes.size() - done, static_cast<off_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno_error("read", file, errno);
    if (count == 0) return damaged(file, "was cut short");
    done += static_cast<std::size_t>(count);
  }
  return bytes;
}

base::Result<std::unique_ptr<vm::MemoryFile>> map_chunks(const fs::path& file,
                                                         std::vector<std::uint64_t> checksums,
                                                         std::function<void()> on_damage,
                                                         std::uint64_t length) {
  std::uint64_t size = 0;
  auto number = open_own(file, size);
  if (!number) return number.error();
  Descriptor opened(number.value());
  if (length > size) return damaged(file, "was cut short");
  if (length != 0) size = length;
  if (size == 0 || size % vm::kPageSize != 0 ||
      checksums.size() != (size + kReadyChunk - 1) / kReadyChunk) {
    return damaged(file, "has another length");
  }
  return vm::MemoryFile::map(opened.release(), size,
                             [sums = std::move(checksums), on_damage = std::move(on_damage)](
                                 vm::u32 chunk, base::ConstBytes bytes) {
                               if (checksum(bytes) == sums[chunk]) return true;
                               on_damage();
                               return false;
                             });
}

WorkFolder::WorkFolder(const fs::path& parent) {
  if (parent.empty() || !make_own_folder(parent)) return;
  std::error_code ignored;
  const auto old = fs::file_time_type::clock::now() - std::chrono::hours(1);
  for (const auto& entry : fs::directory_iterator(parent, ignored)) {
    const bool ours = entry.path().filename().string().starts_with("unpacking-");
    if (ours && entry.last_write_time(ignored) < old) fs::remove_all(entry.path(), ignored);
  }
  std::string name = (parent / "unpacking-XXXXXX").string();
  if (::mkdtemp(name.data()) != nullptr) path_ = name;
}

WorkFolder::~WorkFolder() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
}

}  // namespace snowglobe::detail
