// vm/memory/page_arena.h - where the pages of RAM images lie: memory files shared by all machines
// of the process, page by page with a count of users.
#pragma once

#include "base/bytes.h"
#include "base/error.h"
#include "vm/types.h"

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <sys/types.h>
#include <vector>

namespace snowglobe::vm {

/// Names a page that never changes: its file and its place there. The zero page has a name of its
/// own and takes no memory.
struct PageRef {
  static constexpr u32 kZero = ~u32{0};
  static constexpr u32 kSlotBits = 20;  ///< a file has at most 4 GiB

  u32 value = kZero;

  [[nodiscard]] bool is_zero() const { return value == kZero; }
  [[nodiscard]] u32 file() const { return value >> kSlotBits; }
  [[nodiscard]] u32 slot() const { return value & ((u32{1} << kSlotBits) - 1); }
  bool operator==(const PageRef&) const = default;
};

/// A memory file with guest RAM in it, mapped whole, writable for its owner. Closed and unmapped
/// with the object. Thread rule: any thread.
class MemoryFile {
 public:
  static constexpr u32 kChunkPages = 16;
  /// True if the bytes of a chunk of kChunkPages pages are what they should be.
  using Verifier = std::function<bool(u32 chunk, base::ConstBytes)>;

  /// `size`: a multiple of the page size. Errors: kResourceExhausted, kIo.
  static base::Result<std::unique_ptr<MemoryFile>> create(u64 size);
  /// Maps a file of the host's read-only; takes `descriptor` over. Each chunk is shown to
  /// `verifier` when it is first needed. Errors: kIo.
  static base::Result<std::unique_ptr<MemoryFile>> map(int descriptor, u64 size, Verifier verifier);
  ~MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  [[nodiscard]] int descriptor() const { return descriptor_; }
  [[nodiscard]] u8* base() const { return base_; }
  [[nodiscard]] u64 size() const { return size_; }
  [[nodiscard]] u8* page(u32 slot) const { return base_ + (std::size_t{slot} << kPageShift); }
  /// True if page `slot` has been verified, or needs not be.
  [[nodiscard]] bool check(u32 slot) const {
    if (checked_ == nullptr) return true;
    const u8 known = checked_[slot / kChunkPages].load(std::memory_order_relaxed);
    return known == kGood || (known == kUnknown && check_chunk(slot / kChunkPages));
  }
  /// Memory that the file takes.
  [[nodiscard]] u64 used_bytes() const;
  /// Gives the memory of [slot, slot + count) back; it reads as zeros then.
  void discard(u32 slot, u32 count);

 private:
  MemoryFile(int descriptor, u8* base, u64 size)
      : descriptor_(descriptor), base_(base), size_(size) {}

  enum Checked : u8 { kUnknown, kGood, kBad };
  [[nodiscard]] bool check_chunk(u32 chunk) const;

  int descriptor_;
  u8* base_;
  u64 size_;
  Verifier verifier_;
  std::unique_ptr<std::atomic<u8>[]> checked_;  ///< by chunk; null: nothing to verify
};

/// A page that has no user any more is given back to the host at once, a file without pages in use
/// as well. Thread rule: any thread. After the application's fork() the child shares the files with
/// its parent: it neither fills nor empties what the parent opened.
class PageArena {
 public:
  /// The one of the process.
  static PageArena& process();
  PageArena() = default;
  ~PageArena();
  PageArena(const PageArena&) = delete;
  PageArena& operator=(const PageArena&) = delete;

  /// Room for `count` new pages, behind one another where possible, used once each; the caller
  /// fills them by writable() before anybody else hears of them.
  /// Errors: kResourceExhausted.
  base::Result<std::vector<PageRef>> allocate(std::size_t count);
  [[nodiscard]] u8* writable(PageRef ref) const { return file(ref).page(ref.slot()); }

  /// Takes a whole file over, of which nothing may be written any more. Its page `slot` is named by
  /// ref_in(number, slot), without a user as yet. Errors: kResourceExhausted (too many files); the
  /// file stays the caller's then.
  base::Result<u32> add_file(std::unique_ptr<MemoryFile>& file);
  static PageRef ref_in(u32 number, u32 slot) { return {number << PageRef::kSlotBits | slot}; }
  /// Drops a file that was added and has no page in use.
  void drop_unused_file(u32 number);

  /// One user more, or less, of each page but zero pages.
  void retain(std::span<const PageRef> refs);
  void release(std::span<const PageRef> refs);

  /// The bytes of a page in use, not of the zero page.
  [[nodiscard]] const u8* bytes(PageRef ref) const { return file(ref).page(ref.slot()); }
  [[nodiscard]] const MemoryFile& file(PageRef ref) const {
    return *files_[ref.file()].load(std::memory_order_acquire);
  }

  /// Pages in use, of files of our own and of those that were added.
  [[nodiscard]] u64 pages_in_use() const;

 private:
  static constexpr u32 kFiles = 1u << (32 - PageRef::kSlotBits);
  static constexpr u32 kSegmentPages = 1u << 16;  ///< of files of our own: 256 MiB

  struct Books {
    std::unique_ptr<MemoryFile> file;
    std::vector<u32> users;  ///< by slot
    std::vector<u32> free;   ///< slots given back, to be used again
    u32 fresh = 0;           ///< slots from here on were never used
    u32 in_use = 0;
    pid_t filler = 0;  ///< the process that takes and gives back its pages; 0: added, nobody does
  };

  std::optional<u32> free_number() const;
  base::Result<u32> open_segment();
  void close(u32 number);
  bool take_from(u32 number, std::vector<PageRef>& refs, std::size_t count);

  mutable std::mutex mutex_;  // of books_
  std::array<std::unique_ptr<Books>, kFiles> books_;
  /// What bytes() reads without the lock: whoever has a page in use keeps its file.
  std::array<std::atomic<MemoryFile*>, kFiles> files_{};
};

}  // namespace snowglobe::vm
