// tests/fuzz/fuzz_disk.cc - arbitrary bytes as the head of a persistent disk's file, and as the
// journal of a restore beside one: what is believed must be whole, and nothing else may happen.
#include "api/src/disk_record.h"
#include "api/src/ready_files.h"
#include "api/src/redo_journal.h"
#include "base/check.h"
#include "tests/fuzz/input.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace {

using namespace snowglobe;

/// Bytes as a file; what is written to it is not kept.
class BytesFile final : public base::File {
 public:
  explicit BytesFile(base::ConstBytes bytes) : bytes_(bytes) {}
  base::Result<bool> read(vm::u64 offset, std::span<const base::Bytes> parts, Wait) override {
    for (const base::Bytes part : parts) {
      SG_ASSERT(base::range_fits(offset, part.size(), bytes_.size()), "read behind the end");
      std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset), part.size(), part.begin());
      offset += part.size();
    }
    return true;
  }
  base::Result<void> write(vm::u64, std::span<const base::ConstBytes> parts) override {
    written.clear();
    for (const base::ConstBytes part : parts)
      written.insert(written.end(), part.begin(), part.end());
    return {};
  }
  void begin_write_back(std::uint64_t, std::uint64_t) override {}
  base::Result<void> sync() override { return {}; }
  base::Result<bool> punch(vm::u64, vm::u64) override { return true; }
  base::Result<void> set_size(vm::u64) override { return {}; }
  base::Result<vm::u64> size() override { return vm::u64{bytes_.size()}; }
  base::Result<vm::u64> allocated() override { return vm::u64{0}; }
  std::optional<std::pair<vm::u64, vm::u64>> next_data(vm::u64, vm::u64) override { return {}; }
  [[nodiscard]] Identity identity() const override { return {}; }
  [[nodiscard]] int descriptor() const override { return -1; }

  std::vector<std::uint8_t> written;

 private:
  base::ConstBytes bytes_;
};

// Checksums would keep a fuzzer out: they are put right where the input has its parts.

void put(std::vector<std::uint8_t>& bytes, vm::u64 number) {
  bytes.resize(bytes.size() + sizeof number);
  base::store_le(&bytes[bytes.size() - sizeof number], number);
}

std::vector<std::uint8_t> head_from(fuzz::Input& input) {
  std::vector<std::uint8_t> slots(2 * detail::DiskHead::kSlotBytes);
  for (std::size_t at = 0; at < slots.size(); at += detail::DiskHead::kSlotBytes) {
    const base::ConstBytes body = input.bytes(input.below(120));
    std::uint8_t* const slot = &slots[at];
    std::copy_n("SNOWGLDK", 8, slot);
    base::store_le(slot + 8, std::uint32_t{1} + input.take<std::uint8_t>() / 250);
    base::store_le(slot + 12, static_cast<std::uint32_t>(body.size()));
    std::copy(body.begin(), body.end(), slot + 24);
    std::vector<std::uint8_t> covered(slot, slot + 16);
    covered.insert(covered.end(), body.begin(), body.end());
    base::store_le(slot + 16, detail::checksum(covered) + input.take<std::uint8_t>() / 250);
  }
  return slots;
}

std::vector<std::uint8_t> journal_from(fuzz::Input& input) {
  const std::string mark = "SNOWREDO";
  std::vector<std::uint8_t> file(mark.begin(), mark.end());
  put(file, 1);
  const base::ConstBytes fields = input.bytes(32);
  file.insert(file.end(), fields.begin(), fields.end());
  file.resize(48);
  put(file, detail::checksum(file));
  for (std::uint32_t entries = input.below(8); entries != 0; --entries) {
    std::vector<std::uint8_t> entry;
    put(entry, input.take<std::uint8_t>() % 4);
    put(entry, input.take<vm::u64>() << input.below(2) * 12);
    const auto length = std::size_t{input.below(3)} * 4096;
    put(entry, length + input.take<std::uint8_t>() / 250);
    const std::vector<std::uint8_t> data(entry[0] == 1 ? length : 0, input.take<std::uint8_t>());
    std::vector<std::uint8_t> covered = entry;
    put(covered, detail::checksum(data));
    put(entry, detail::checksum(covered));
    file.insert(file.end(), entry.begin(), entry.end());
    file.insert(file.end(), data.begin(), data.end());
  }
  return file;
}

/// The next record goes into the other slot and is the one that counts then.
void read_head(base::ConstBytes bytes) {
  BytesFile file(bytes);
  auto head = detail::DiskHead::read(file);
  if (!head) return;
  detail::DiskRecord record = head.value().record();
  ++record.generation;
  SG_ASSERT(head.value().write(file, record).ok(), "a record can be written");
  constexpr vm::u64 kSlot = detail::DiskHead::kSlotBytes;
  for (const vm::u64 slot : {vm::u64{0}, kSlot}) {
    std::vector<std::uint8_t> both(bytes.begin(), bytes.begin() + 2 * kSlot);
    std::copy(file.written.begin(), file.written.end(),
              both.begin() + static_cast<std::ptrdiff_t>(slot));
    const auto again = detail::DiskHead::parse(both);
    if (again.ok() && again.value().record() == record) return;
  }
  SG_ASSERT(false, "a record that was written is not found");
}

void read_journal(base::ConstBytes bytes) {
  auto journal = detail::RedoReader::open(std::make_unique<BytesFile>(bytes));
  if (!journal) return;
  const vm::u64 capacity = journal.value().header().capacity;
  (void)journal.value().for_each([&](vm::u64 offset, vm::u64 length, base::ConstBytes data) {
    SG_ASSERT(base::range_fits(offset, length, capacity), "an entry outside of the disk");
    SG_ASSERT(data.empty() || data.size() == length, "an entry without all its bytes");
    return base::Result<void>();
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  switch (input.take<std::uint8_t>() % 4) {
    case 0:
      read_head(head_from(input));
      break;
    case 1:
      read_journal(journal_from(input));
      break;
    case 2:
      read_head(input.bytes(10'000));
      break;
    default:
      read_journal(input.bytes(10'000));
  }
  return 0;
}
