// tests/cpu/privileged/image.cc - the template area, the payload, and the reports.
#include "tests/cpu/privileged/image.h"

#include "base/bytes.h"
#include "base/check.h"
#include "vm/cpu/state.h"

#include <algorithm>
#include <cstring>

namespace snowglobe::vm::privileged {
namespace {

class Area {
 public:
  Area() : bytes_(kAreaSize, 0) {}
  void put(u32 address, u32 value) { base::store_le(&bytes_[address - kArea], value); }
  void put64(u32 address, u64 value) { base::store_le(&bytes_[address - kArea], value); }
  [[nodiscard]] std::vector<u8> take() { return std::move(bytes_); }

 private:
  std::vector<u8> bytes_;
};

u64 flat(u32 access) {
  return 0x00CF00000000FFFFu | u64{access} << 40;
}

u64 system(u32 access, u32 base, u32 limit) {
  return u64{base & 0xFFFFFF} << 16 | limit | u64{access} << 40;
}

void fill_gdt(Area& area) {
  const auto set = [&area](u16 selector, u64 value) { area.put64(kGdt + (selector & ~7u), value); };
  for (unsigned ring = 0; ring < 4; ++ring) {
    set(code_selector(ring), flat(0x9B | ring << 5));
    set(data_selector(ring), flat(0x93 | ring << 5));
  }
  set(kTssSelector, system(0x89, kTss, 0x7F));
  set(kLdtSelector, system(0x82, kLdt, kLdtLimit));
  set(kConforming0, flat(0x9F));
  set(kConforming3, flat(0xFF));
}

void fill_tss(Area& area) {
  area.put(kTss + 4, kRing0Stack);
  area.put(kTss + 8, data_selector(0));
  area.put(kTss + 12, kRing1Stack);
  area.put(kTss + 16, data_selector(1));
  area.put(kTss + 20, kRing2Stack);
  area.put(kTss + 24, data_selector(2));
  area.put(kTss + 0x64, 0x68u << 16);
  for (u32 at = 0x68; at < 0x80; at += 4)
    area.put(kTss + at, ~0u);
}

void fill_idt(Area& area) {
  for (u32 vector = 0; vector < 256; ++vector) {
    const u32 offset = kStubs + vector * 10;
    const bool open = (vector & 0xF0) == kEndVector;
    area.put(kIdt + vector * 8, u32{code_selector(0)} << 16 | (offset & 0xFFFF));
    area.put(kIdt + vector * 8 + 4, (offset & 0xFFFF0000) | 0x8E00 | (open ? 0x6000 : 0));
  }
}

void fill_paging(Area& area) {
  constexpr u32 kSystem = 0x63;  // present, writable, accessed, dirty
  constexpr u32 kUser = 0x07;
  area.put(kPageDirectory, kPageTable | kUser);
  area.put(kPageDirectory + (kTestLinear >> 22) * 4, kTestTable | kUser);
  for (u32 page = 0; page < 1024; ++page)
    area.put(kPageTable + page * 4, page << kPageShift | kSystem);
  for (const u32 page : {kCode, kData, kData + kPageSize, kUserStack & ~kPageMask})
    area.put(kPageTable + (page >> kPageShift) * 4, page | kUser);
  for (u32 page = 0; page < 1024; ++page)
    area.put(kTestTable + page * 4, (kData + (page & 1) * kPageSize) | kUser);
}

}  // namespace

std::vector<u8> make_template() {
  Area area;
  fill_gdt(area);
  fill_tss(area);
  fill_idt(area);
  fill_paging(area);
  for (u32 at = 0; at < 2 * kPageSize; at += 4)
    area.put(kData + at, 0x5A000000 | at);
  return area.take();
}

std::vector<u8> make_payload(const std::vector<u8>& runner, const std::vector<Case>& cases) {
  std::vector<u8> payload(kCases - kPayload, 0);
  SG_ASSERT(runner.size() <= kTemplate - kPayload, "the runner reaches into the template");
  std::copy(runner.begin(), runner.end(), payload.begin());
  const std::vector<u8> area = make_template();
  std::copy(area.begin(), area.end(), payload.begin() + (kTemplate - kPayload));
  const auto append = [&payload](const void* bytes, std::size_t size) {
    const u8* from = static_cast<const u8*>(bytes);
    payload.insert(payload.end(), from, from + size);
  };
  for (const Case& c : cases) {
    CaseHeader header = c.header;
    header.poke_count = static_cast<u32>(c.pokes.size());
    header.size = static_cast<u32>(sizeof header + c.pokes.size() * sizeof(Poke));
    append(&header, sizeof header);
    append(c.pokes.data(), c.pokes.size() * sizeof(Poke));
  }
  const u32 end = 0;
  append(&end, sizeof end);
  SG_ASSERT(payload.size() <= kCasesEnd - kPayload, "too many cases for one payload");
  return payload;
}

std::vector<Report> parse_reports(const std::vector<u8>& bytes) {
  std::vector<Report> reports;
  std::size_t at = 0;
  while (bytes.size() - at >= sizeof(Record)) {
    Report report;
    std::memcpy(&report.record, &bytes[at], sizeof(Record));
    at += sizeof(Record);
    while (bytes.size() - at >= 4) {
      const u32 address = base::load_le<u32>(&bytes[at]);
      at += 4;
      if (address == kEndOfChanges) {
        reports.push_back(std::move(report));
        break;
      }
      if (bytes.size() - at < 4) return reports;
      report.changes.push_back({address, base::load_le<u32>(&bytes[at])});
      at += 4;
    }
  }
  return reports;
}

}  // namespace snowglobe::vm::privileged
