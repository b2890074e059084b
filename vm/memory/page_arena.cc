// vm/memory/page_arena.cc - memory files and the books of their pages.
#include "vm/memory/page_arena.h"

#include "base/check.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <map>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace snowglobe::vm {

using base::Error;
using base::ErrorCode;

namespace {

Error refused(ErrorCode code, const std::string& what, int reason) {
  return {code, what + ": " + std::system_category().message(reason)};
}

std::string mebibytes(u64 size) {
  return std::to_string(size >> 20) + " MiB of guest memory";
}

}  // namespace

// --- files --------------------------------------------------------------------------------------

base::Result<std::unique_ptr<MemoryFile>> MemoryFile::create(u64 size) {
  const int descriptor = ::memfd_create("snowglobe-ram", MFD_CLOEXEC);
  if (descriptor < 0) return refused(ErrorCode::kIo, "create guest memory", errno);
  if (::ftruncate(descriptor, static_cast<off_t>(size)) != 0) {
    const int reason = errno;
    ::close(descriptor);
    return refused(ErrorCode::kResourceExhausted, "reserve " + mebibytes(size), reason);
  }
  void* mapping =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, descriptor, 0);
  if (mapping == MAP_FAILED) {
    const int reason = errno;
    ::close(descriptor);
    return refused(ErrorCode::kResourceExhausted, "map " + mebibytes(size), reason);
  }
  ::madvise(mapping, size, MADV_DONTDUMP);  // a core dump of the application is not for the guest
  return std::unique_ptr<MemoryFile>(new MemoryFile(descriptor, static_cast<u8*>(mapping), size));
}

base::Result<std::unique_ptr<MemoryFile>> MemoryFile::map(int descriptor, u64 size,
                                                          Verifier verifier) {
  void* mapping = ::mmap(nullptr, size, PROT_READ, MAP_SHARED | MAP_NORESERVE, descriptor, 0);
  if (mapping == MAP_FAILED) {
    const int reason = errno;
    ::close(descriptor);
    return refused(ErrorCode::kIo, "map " + mebibytes(size), reason);
  }
  ::madvise(mapping, size, MADV_DONTDUMP);
  std::unique_ptr<MemoryFile> file(new MemoryFile(descriptor, static_cast<u8*>(mapping), size));
  const u64 chunk = u64{kChunkPages} << kPageShift;
  file->checked_ = std::make_unique<std::atomic<u8>[]>((size + chunk - 1) / chunk);
  file->verifier_ = std::move(verifier);
  return file;
}

bool MemoryFile::check_chunk(u32 chunk) const {
  const u64 begin = (u64{chunk} * kChunkPages) << kPageShift;
  const u64 length = std::min(u64{kChunkPages} << kPageShift, size_ - begin);
  const bool good = verifier_(chunk, {base_ + begin, length});
  checked_[chunk].store(good ? kGood : kBad, std::memory_order_relaxed);
  return good;
}

MemoryFile::~MemoryFile() {
  ::munmap(base_, size_);
  ::close(descriptor_);
}

u64 MemoryFile::used_bytes() const {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) return 0;
  constexpr u64 kBlockBytes = 512;  // of st_blocks, whatever the file system's are
  return static_cast<u64>(status.st_blocks) * kBlockBytes;
}

void MemoryFile::discard(u32 slot, u32 count) {
  // Best effort: if the host keeps the memory, nothing but the memory is lost.
  static_cast<void>(::fallocate(descriptor_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                static_cast<off_t>(slot) << kPageShift,
                                static_cast<off_t>(count) << kPageShift));
}

// --- the arena ----------------------------------------------------------------------------------

PageArena& PageArena::process() {
  static PageArena* const arena = new PageArena;  // machines may outlive static destructors
  return *arena;
}

PageArena::~PageArena() = default;

std::optional<u32> PageArena::free_number() const {
  // The last number is left out: with all slot bits set it would be the zero page's name.
  for (u32 number = 0; number + 1 < kFiles; ++number) {
    if (books_[number] == nullptr) return number;
  }
  return std::nullopt;
}

base::Result<u32> PageArena::open_segment() {
  const auto number = free_number();
  if (!number) {
    return Error{ErrorCode::kResourceExhausted,
                 "there are too many snapshots of guest memory in this process: drop some"};
  }
  auto file = MemoryFile::create(u64{kSegmentPages} << kPageShift);
  if (!file) return file.error();
  auto books = std::make_unique<Books>();
  books->file = std::move(file).value();
  books->users.resize(kSegmentPages, 0);
  books->filler = ::getpid();
  files_[*number].store(books->file.get(), std::memory_order_release);
  books_[*number] = std::move(books);
  return *number;
}

void PageArena::close(u32 number) {
  files_[number].store(nullptr, std::memory_order_release);
  books_[number].reset();
}

// Fresh slots first: they are contiguous, and contiguous pages take fewer mappings.
bool PageArena::take_from(u32 number, std::vector<PageRef>& refs, std::size_t count) {
  Books& books = *books_[number];
  while (refs.size() < count) {
    u32 slot = 0;
    if (books.fresh < books.users.size()) {
      slot = books.fresh++;
    } else if (!books.free.empty()) {
      slot = books.free.back();
      books.free.pop_back();
    } else {
      return false;
    }
    books.users[slot] = 1;
    ++books.in_use;
    refs.push_back(ref_in(number, slot));
  }
  return true;
}

base::Result<std::vector<PageRef>> PageArena::allocate(std::size_t count) {
  std::vector<PageRef> refs;
  refs.reserve(count);
  const pid_t process = ::getpid();
  std::unique_lock lock(mutex_);
  for (u32 number = 0; number < kFiles && refs.size() < count; ++number) {
    if (books_[number] != nullptr && books_[number]->filler == process)
      take_from(number, refs, count);
  }
  while (refs.size() < count) {
    const auto number = open_segment();
    if (!number) {
      lock.unlock();
      release(refs);
      return number.error();
    }
    take_from(number.value(), refs, count);
  }
  return refs;
}

base::Result<u32> PageArena::add_file(std::unique_ptr<MemoryFile>& file) {
  SG_ASSERT(file->size() >> kPageShift <= u64{1} << PageRef::kSlotBits,
            "a file of the arena has at most 4 GiB");
  const std::lock_guard lock(mutex_);
  const auto number = free_number();
  if (!number) {
    return Error{ErrorCode::kResourceExhausted,
                 "there are too many snapshots of guest memory in this process: drop some"};
  }
  auto books = std::make_unique<Books>();
  books->users.resize(file->size() >> kPageShift, 0);
  books->file = std::move(file);
  files_[*number].store(books->file.get(), std::memory_order_release);
  books_[*number] = std::move(books);
  return *number;
}

void PageArena::drop_unused_file(u32 number) {
  const std::lock_guard lock(mutex_);
  if (books_[number] != nullptr && books_[number]->in_use == 0) close(number);
}

void PageArena::retain(std::span<const PageRef> refs) {
  const std::lock_guard lock(mutex_);
  for (const PageRef ref : refs) {
    if (ref.is_zero()) continue;
    Books& books = *books_[ref.file()];
    if (books.users[ref.slot()]++ == 0) ++books.in_use;
  }
}

// The host takes milliseconds for a large hole, and everybody's pages are behind the one lock:
// holes are made without it. Meanwhile their slots count as in use and are not free.
void PageArena::release(std::span<const PageRef> refs) {
  struct Run {
    u32 number;
    MemoryFile* file;
    u32 slot;
    u32 count;
  };
  const pid_t process = ::getpid();
  std::vector<Run> runs;                        // without users now
  std::vector<std::unique_ptr<Books>> emptied;  // unmapped at the end, without the lock as well
  const auto take_out = [&](u32 number) {
    files_[number].store(nullptr, std::memory_order_release);
    emptied.push_back(std::move(books_[number]));
  };
  {
    const std::lock_guard lock(mutex_);
    std::map<u32, u32> leaving;
    for (const PageRef ref : refs) {
      if (ref.is_zero()) continue;
      const u32 number = ref.file();
      Books& books = *books_[number];
      const u32 slot = ref.slot();
      SG_ASSERT(books.users[slot] != 0, "a page is released once more than it was used");
      if (--books.users[slot] != 0) continue;
      ++leaving[number];
      if (runs.empty() || runs.back().number != number ||
          slot != runs.back().slot + runs.back().count) {
        runs.push_back({number, books.file.get(), slot, 0});
      }
      ++runs.back().count;
    }
    for (const auto& [number, count] : leaving) {
      Books& books = *books_[number];
      if (count == books.in_use) {
        take_out(number);
      } else if (books.filler != process) {
        books.in_use -= count;
      } else {
        continue;
      }
      std::erase_if(runs, [number = number](const Run& run) { return run.number == number; });
    }
  }
  if (runs.empty()) return;
  for (const Run& run : runs)
    run.file->discard(run.slot, run.count);
  const std::lock_guard lock(mutex_);
  for (const Run& run : runs) {
    Books& books = *books_[run.number];
    for (u32 i = 0; i < run.count; ++i)
      books.free.push_back(run.slot + i);
    books.in_use -= run.count;
    if (books.in_use == 0) take_out(run.number);
  }
}

u64 PageArena::pages_in_use() const {
  const std::lock_guard lock(mutex_);
  u64 total = 0;
  for (const auto& books : books_) {
    if (books != nullptr) total += books->in_use;
  }
  return total;
}

}  // namespace snowglobe::vm
