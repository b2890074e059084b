// api/src/disk_record.cc - slots of a disk's head: written, read, and told from what is none.
#include "api/src/disk_record.h"

#include "api/src/ready_files.h"
#include "base/archive.h"

#include <algorithm>
#include <optional>
#include <vector>

namespace snowglobe::detail {

template <class Archive>
void describe(Archive& archive, DiskRecord& record) {
  archive(record.id, record.generation, record.state, record.token, record.capacity,
          record.restores);
}

namespace {

using base::Error;
using base::ErrorCode;
using vm::u64;

// Mark, format, length of the rest, checksum of mark, format and rest. Formats to come begin alike.
constexpr std::array<std::uint8_t, 8> kMark{'S', 'N', 'O', 'W', 'G', 'L', 'D', 'K'};
constexpr std::uint32_t kFormat = 1;
constexpr std::size_t kFixed = 8 + 4 + 4 + 8;
constexpr std::size_t kSumAt = 16;
constexpr u64 kMaxCount = u64{1} << 62;  // what counts up does not come round

struct Slot {
  u64 sequence = 0;
  DiskRecord record;
};

u64 sum_of(base::ConstBytes slot, std::size_t length) {
  std::vector<std::uint8_t> covered(slot.begin(), slot.begin() + kSumAt);
  covered.insert(covered.end(), slot.begin() + kFixed,
                 slot.begin() + static_cast<std::ptrdiff_t>(kFixed + length));
  return checksum(covered);
}

bool sensible(const DiskRecord& record) {
  const bool known = record.state >= DiskState::kClean && record.state <= DiskState::kHibernated;
  return known && record.capacity != 0 && record.capacity % DiskHead::kSlotBytes == 0 &&
         record.capacity <= DiskHead::kMaxCapacity && record.generation != 0 &&
         record.generation < kMaxCount && record.restores < kMaxCount;
}

/// Nothing if the slot is not whole. `newer`: it is, and of a format that this build does not know.
std::optional<Slot> parse_slot(base::ConstBytes slot, bool& newer) {
  if (!std::equal(kMark.begin(), kMark.end(), slot.begin())) return std::nullopt;
  const std::size_t length = base::load_le<std::uint32_t>(&slot[12]);
  if (length > slot.size() - kFixed) return std::nullopt;
  if (base::load_le<u64>(&slot[kSumAt]) != sum_of(slot, length)) return std::nullopt;
  if (base::load_le<std::uint32_t>(&slot[8]) != kFormat) {
    newer = true;
    return std::nullopt;
  }
  Slot found;
  base::ArchiveReader reader(slot.subspan(kFixed, length));
  reader(found.sequence, found.record);
  if (!reader.finished() || found.sequence == 0 || found.sequence >= kMaxCount ||
      !sensible(found.record)) {
    return std::nullopt;
  }
  return found;
}

std::vector<std::uint8_t> slot_bytes(u64 sequence, DiskRecord record) {
  base::ArchiveWriter writer;
  writer(sequence, record);
  const std::vector<std::uint8_t> body = writer.take();
  std::vector<std::uint8_t> slot(DiskHead::kSlotBytes);
  std::copy(kMark.begin(), kMark.end(), slot.begin());
  base::store_le(&slot[8], kFormat);
  base::store_le(&slot[12], static_cast<std::uint32_t>(body.size()));
  std::copy(body.begin(), body.end(), slot.begin() + kFixed);
  base::store_le(&slot[kSumAt], sum_of(slot, body.size()));
  return slot;
}

}  // namespace

base::Result<DiskHead> DiskHead::parse(base::ConstBytes slots) {
  if (slots.size() < 2 * kSlotBytes)
    return Error{ErrorCode::kCorrupt, "the disk file is too short to be one"};
  bool newer = false;
  DiskHead head;
  for (u64 i = 0; i < 2; ++i) {
    const auto slot = parse_slot(slots.subspan(i * kSlotBytes, kSlotBytes), newer);
    // A slot in the other's place was copied there: it is not what was written.
    if (!slot || slot->sequence % 2 != i || slot->sequence <= head.sequence_) continue;
    head.sequence_ = slot->sequence;
    head.record_ = slot->record;
  }
  if (newer) {
    return Error{ErrorCode::kUnsupported,
                 "the disk file was written by a newer version of Snowglobe: open it with that"};
  }
  if (head.sequence_ == 0) {
    return Error{ErrorCode::kCorrupt,
                 "the disk file does not begin as one of Snowglobe's: it is something else, or it "
                 "is damaged"};
  }
  return head;
}

base::Result<DiskHead> DiskHead::read(base::File& file) {
  std::vector<std::uint8_t> slots(2 * kSlotBytes);
  const auto size = file.size();
  if (!size) return size.error();
  if (size.value() >= slots.size()) {
    if (auto done = file.read_at(0, slots); !done) return done.error();
  } else {
    slots.clear();
  }
  return parse(slots);
}

base::Result<void> DiskHead::write(base::File& file, const DiskRecord& record) {
  const u64 sequence = sequence_ + 1;
  const std::vector<std::uint8_t> slot = slot_bytes(sequence, record);
  if (auto done = file.write_at(sequence % 2 * kSlotBytes, slot); !done) return done;
  if (auto done = file.sync(); !done) return done;
  sequence_ = sequence;
  record_ = record;
  return {};
}

}  // namespace snowglobe::detail
