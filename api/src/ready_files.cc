// api/src/ready_files.cc - files of the user's cache: written whole, believed only by checksum.
#include "api/src/ready_files.h"

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

/// Somebody else's file is none of ours, wherever it lies.
base::Result<std::unique_ptr<base::File>> open_own(base::FileSystem& files, const fs::path& file) {
  auto opened = files.open(file, base::FileSystem::Access::kRead);
  if (!opened) return opened;
  struct stat status {};
  if (::fstat(opened.value()->descriptor(), &status) != 0) {
    return base::os_error("look at", file, errno);
  }
  constexpr mode_t kOthersMayWrite = S_IWGRP | S_IWOTH;
  if (status.st_uid != ::geteuid() || (status.st_mode & kOthersMayWrite) != 0) {
    return damaged(file, "is not this user's own file");
  }
  return opened;
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

base::Result<std::vector<std::uint64_t>> write_chunks(
    base::FileSystem& files, const fs::path& file, std::uint64_t size,
    const std::function<bool(std::uint64_t, base::Bytes)>& fill) {
  const auto made = files.create(file);
  if (!made) return made.error();
  base::File& to = *made.value();
  const std::uint64_t whole = base::align_up(size, vm::kPageSize);
  if (auto done = to.set_size(whole); !done) return done.error();
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
    if (auto done = to.write_at(offset, bytes); !done) return done.error();
  }
  return sums;
}

base::Result<std::vector<std::uint64_t>> write_memory(base::FileSystem& files, const fs::path& file,
                                                      const vm::RamImage& memory) {
  return write_chunks(files, file, memory.size(), [&memory](std::uint64_t offset, base::Bytes out) {
    for (std::size_t at = 0; at < out.size(); at += vm::kPageSize) {
      const auto page = static_cast<vm::u32>((offset + at) / vm::kPageSize);
      if (!memory.read(page, out.subspan(at, vm::kPageSize))) return false;
    }
    return true;
  });
}

std::vector<std::uint64_t> used_pages(const vm::RamImage& memory) {
  std::vector<std::uint64_t> used((memory.page_count() + 63) / 64);
  memory.for_each_difference(
      nullptr, [&used](vm::u32 page) { used[page / 64] |= std::uint64_t{1} << (page % 64); });
  return used;
}

std::vector<bool> flags_of(const std::vector<std::uint64_t>& used, std::uint64_t pages) {
  std::vector<bool> flags(pages);
  for (std::uint64_t page = 0; page < pages; ++page)
    flags[page] = (used[page / 64] >> (page % 64) & 1) != 0;
  return flags;
}

base::Result<std::vector<std::uint8_t>> read_own_file(const fs::path& file, std::uint64_t limit) {
  auto opened = open_own(base::FileSystem::host(), file);
  if (!opened) return opened.error();
  const auto size = opened.value()->size();
  if (!size) return size.error();
  if (size.value() > limit) return damaged(file, "is too long");
  std::vector<std::uint8_t> bytes(size.value());
  if (auto done = opened.value()->read_at(0, bytes); !done) return done.error();
  return bytes;
}

base::Result<std::unique_ptr<vm::MemoryFile>> map_chunks(base::FileSystem& files,
                                                         const fs::path& file,
                                                         std::vector<std::uint64_t> checksums,
                                                         std::function<void()> on_damage,
                                                         std::uint64_t length) {
  const auto opened = open_own(files, file);
  if (!opened) return opened.error();
  const auto there = opened.value()->size();
  if (!there) return there.error();
  if (length > there.value()) return damaged(file, "was cut short");
  const std::uint64_t size = length != 0 ? length : there.value();
  if (size == 0 || size % vm::kPageSize != 0 ||
      checksums.size() != (size + kReadyChunk - 1) / kReadyChunk) {
    return damaged(file, "has another length");
  }
  const int own = ::fcntl(opened.value()->descriptor(), F_DUPFD_CLOEXEC, 0);
  if (own < 0) return base::os_error("open", file, errno);
  return vm::MemoryFile::map(own, size,
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
