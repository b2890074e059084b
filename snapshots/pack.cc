// snapshots/pack.cc - writing and reading pack files.
#include "snapshots/pack.h"

#include "snapshots/hash.h"

#include <algorithm>

namespace snowglobe::snapshots {

namespace {

// byte  0  "SGPACK\r\n"     8  format: 1     12  zero (4)     16  id     32  check of bytes 0..31
constexpr std::uint8_t kPackMagic[8] = {'S', 'G', 'P', 'A', 'C', 'K', '\r', '\n'};
constexpr std::uint32_t kPackFormat = 1;
constexpr std::string_view kExtension = ".pack";

std::array<std::uint8_t, kPackHeadBytes> pack_head(const PackId& id) {
  std::array<std::uint8_t, kPackHeadBytes> head{};
  std::copy(std::begin(kPackMagic), std::end(kPackMagic), head.begin());
  base::store_le(&head[8], kPackFormat);
  std::copy(id.bytes.begin(), id.bytes.end(), &head[16]);
  base::store_le(&head[32], check_of(base::ConstBytes(head).first(32)));
  return head;
}

}  // namespace

std::string pack_file_name(const PackId& id) {
  return id.hex() + std::string(kExtension);
}

std::optional<PackId> pack_of_file_name(std::string_view name) {
  if (!name.ends_with(kExtension)) return std::nullopt;
  return PackId::parse(name.substr(0, name.size() - kExtension.size()));
}

base::Result<PackWriter> PackWriter::create(base::FileSystem& files,
                                            const std::filesystem::path& folder, const PackId& id) {
  auto file = files.create(folder / pack_file_name(id));
  if (!file.ok()) return file.error();
  PackWriter pack(id, std::move(file).value());
  if (auto head = pack.append(pack_head(id)); !head.ok()) {
    static_cast<void>(files.remove(folder / pack_file_name(id)));
    return head.error();
  }
  return pack;
}

base::Result<std::uint64_t> PackWriter::append(base::ConstBytes record) {
  if (auto written = file_->write_at(bytes_, record); !written.ok()) return written.error();
  const std::uint64_t offset = bytes_;
  bytes_ += record.size();
  return offset;
}

base::Result<std::shared_ptr<PackReader>> PackReader::open(base::FileSystem& files,
                                                           const std::filesystem::path& folder,
                                                           const PackId& id) {
  auto file = files.open(folder / pack_file_name(id), base::FileSystem::Access::kRead);
  if (!file.ok()) return file.error();
  std::array<std::uint8_t, kPackHeadBytes> head;
  if (auto read = file.value()->read_at(0, head); !read.ok()) return read.error();
  if (head != pack_head(id)) {
    return base::Error{base::ErrorCode::kCorrupt,
                       "pack " + pack_file_name(id) + " is damaged in its head"};
  }
  return std::shared_ptr<PackReader>(new PackReader(std::move(file).value()));
}

base::Result<PackReader::Record> PackReader::read(
    std::uint64_t offset, std::optional<std::uint32_t> expected_stored) const {
  Record record;
  record.bytes.resize(kRecordHeadBytes + expected_stored.value_or(0));
  if (auto read = file_->read_at(offset, record.bytes); !read.ok()) return read.error();
  auto head = parse_record_head(base::ConstBytes(record.bytes).first(kRecordHeadBytes));
  if (!head.ok()) return head.error();
  record.head = head.value();
  if (expected_stored.has_value()) {
    if (record.head.stored_bytes == *expected_stored) return record;
    return base::Error{base::ErrorCode::kCorrupt, "another record is there"};
  }
  record.bytes.resize(kRecordHeadBytes + record.head.stored_bytes);
  const base::Bytes payload = base::Bytes(record.bytes).subspan(kRecordHeadBytes);
  if (auto read = file_->read_at(offset + kRecordHeadBytes, payload); !read.ok()) {
    return read.error();
  }
  return record;
}

base::Result<std::shared_ptr<PackReader>> PackCache::get(const PackId& id) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(recent_.begin(), recent_.end(),
                                  [&](const auto& entry) { return entry.first == id; });
  if (found != recent_.end()) {
    recent_.splice(recent_.begin(), recent_, found);
    return recent_.front().second;
  }
  auto opened = PackReader::open(files_, folder_, id);
  if (!opened.ok()) return opened.error();
  recent_.emplace_front(id, opened.value());
  if (recent_.size() > kOpenPacks) recent_.pop_back();
  return opened;
}

void PackCache::forget(const PackId& id) {
  const std::lock_guard lock(mutex_);
  recent_.remove_if([&](const auto& entry) { return entry.first == id; });
}

}  // namespace snowglobe::snapshots
