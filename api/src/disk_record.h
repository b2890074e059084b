// api/src/disk_record.h - the head of a persistent disk's file: whose contents these are, and
// whether a hibernated machine belongs to them. Two slots, written in turn, so that one is always
// whole.
#pragma once

#include "base/bytes.h"
#include "base/error.h"
#include "base/file_system.h"
#include "vm/types.h"
#include <snowglobe/export.hpp>

#include <array>

namespace snowglobe::detail {

enum class DiskState : std::uint8_t {
  kClean = 1,       ///< nobody has written since create() or mark_clean(); no machine belongs to it
  kRunning = 2,     ///< a machine writes, or was killed: what PostgreSQL recovers from
  kHibernated = 3,  ///< the machine with this generation and token goes on here, and none else
};

/// Names the stored machine that belongs to the contents.
using DiskToken = std::array<std::uint8_t, 16>;

struct DiskRecord {
  std::array<std::uint8_t, 16> id{};  ///< random, of this disk
  vm::u64 generation = 1;             ///< counts mark_running()
  DiskState state = DiskState::kClean;
  DiskToken token{};  ///< zeros unless hibernated
  vm::u64 capacity = 0;
  vm::u64 restores = 0;  ///< redo journals done: see redo_journal.h

  bool operator==(const DiskRecord&) const = default;
};

/// The head of a file: where its record stands, and how the next one is written.
class DiskHead {
 public:
  static constexpr vm::u64 kSlotBytes = 4096;  ///< torn at worst: a write of one slot
  static constexpr vm::u64 kDataStart = 64 << 10;
  static constexpr vm::u64 kMaxCapacity = vm::u64{1} << 44;

  /// A new file's: no record is in it yet.
  DiskHead() = default;
  /// Reads the newer of the two that are whole. Errors: kCorrupt (none is, or this is no disk of
  /// ours), kUnsupported (of a newer format), those of the file.
  static base::Result<DiskHead> read(base::File& file);
  /// What read() does with the bytes of both slots; for tests and the fuzzer.
  static base::Result<DiskHead> parse(base::ConstBytes slots);

  [[nodiscard]] const DiskRecord& record() const { return record_; }
  /// Writes over the older slot and syncs the file, its data included. What the file says after a
  /// failure is the old record or this one.
  base::Result<void> write(base::File& file, const DiskRecord& record);

 private:
  DiskRecord record_;
  vm::u64 sequence_ = 0;  ///< of record_; its slot is sequence_ % 2
};

}  // namespace snowglobe::detail
