// tests/fuzz/fuzz_snapshots.cc - bytes that claim to be an exported file, or a list of chunks. What
// is taken over must be whole; memory and time limits and sanitizers are the other judges.
#include "base/check.h"
#include "snapshots/chunk_list.h"
#include "snapshots/export_format.h"
#include "snapshots/file_system.h"
#include "snapshots/hash.h"
#include "tests/fuzz/input.h"

#include <algorithm>
#include <vector>

namespace {

using namespace snowglobe;
using namespace snowglobe::snapshots;

/// The input as a file.
class MemoryFile final : public File {
 public:
  explicit MemoryFile(std::vector<std::uint8_t> bytes) : bytes_(std::move(bytes)) {}
  base::Result<void> append(base::ConstBytes) override { return {}; }
  base::Result<void> read_at(std::uint64_t offset, base::Bytes out) override {
    if (!base::range_fits(offset, out.size(), bytes_.size())) {
      return base::Error{base::ErrorCode::kCorrupt, "behind the end"};
    }
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
    return {};
  }
  base::Result<void> sync() override { return {}; }
  base::Result<std::uint64_t> size() override { return std::uint64_t{bytes_.size()}; }

 private:
  std::vector<std::uint8_t> bytes_;
};

void check_list(base::ConstBytes bytes, const SnapshotIds* base) {
  static_cast<void>(ids_in_list(bytes));
  static_cast<void>(objects_in_list(bytes));
  const auto decoded = decode_list(bytes, base);
  if (!decoded.ok()) return;
  // What was accepted comes out of the encoder and in again.
  const auto again = decode_list(encode_list(decoded.value(), base), base);
  SG_ASSERT(again.ok() && again.value().size() == decoded.value().size(), "a list changed");
  for (std::size_t i = 0; i < again.value().size(); ++i) {
    SG_ASSERT(again.value()[i].info == decoded.value()[i].info &&
                  again.value()[i].ids == decoded.value()[i].ids,
              "a list changed");
  }
}

// Checksums would keep a fuzzer out: they are put right where the input has its parts.
std::vector<std::uint8_t> export_from(fuzz::Input& input) {
  const base::ConstBytes manifest = input.bytes(input.below(400));
  const base::ConstBytes rest = input.bytes(100'000);
  std::vector<std::uint8_t> file = {'S', 'G', 'S', 'N', 'A', 'P', '\r', '\n',
                                    1,   0,   0,   0,   1,   0,   0,    0};
  file.resize(32);
  file[16] = static_cast<std::uint8_t>(rest.empty() ? 0 : rest[0] % 4);
  base::store_le(&file[24], check_of(base::ConstBytes(file).first(24)));
  std::uint8_t number[8];
  base::store_le(number, static_cast<std::uint32_t>(manifest.size()));
  file.insert(file.end(), number, number + 4);
  file.insert(file.end(), manifest.begin(), manifest.end());
  base::store_le(number, check_of(manifest));
  file.insert(file.end(), number, number + 8);
  file.insert(file.end(), rest.begin(), rest.end());
  file.resize(std::max<std::size_t>(file.size(), 80));
  return file;
}

void read_export(std::vector<std::uint8_t> bytes) {
  MemoryFile file(std::move(bytes));
  auto reader = ExportReader::begin(file, "input");
  if (!reader.ok()) return;
  for (std::uint32_t i = 0; i < reader.value().head().snapshots; ++i) {
    auto manifest = reader.value().manifest();
    if (!manifest.ok()) return;
    check_list(manifest.value().list, nullptr);
  }
  for (std::uint64_t i = 0; i < reader.value().head().chunks; ++i) {
    auto record = reader.value().record();
    if (!record.ok()) return;
    SG_ASSERT(hash_of(record.value().raw) == record.value().head.hash, "a chunk with another hash");
  }
  static_cast<void>(reader.value().end());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input(data, size);
  switch (input.below(3)) {
    case 0: {
      const base::ConstBytes first = input.bytes(input.below(300));
      const auto base = decode_list(first, nullptr);
      check_list(input.bytes(size), base.ok() ? &base.value() : nullptr);
      break;
    }
    case 1:
      read_export(export_from(input));
      break;
    default: {
      const base::ConstBytes all = input.bytes(size);
      read_export({all.begin(), all.end()});
    }
  }
  return 0;
}
