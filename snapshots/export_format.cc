// snapshots/export_format.cc - writing and reading the parts of an exported file.
#include "snapshots/export_format.h"

#include "base/archive.h"
#include "snapshots/limits.h"
#include "snapshots/metadata.h"

#include <algorithm>
#include <fmt/format.h>

namespace snowglobe::snapshots {

namespace {

// byte  0  "SGSNAP\r\n"   8  format: 1   12  snapshots (32 bit)   16  chunks   24  check of 0..23
constexpr std::uint8_t kMagic[8] = {'S', 'G', 'S', 'N', 'A', 'P', '\r', '\n'};
constexpr std::size_t kHeadBytes = 32;
constexpr std::uint32_t kFormat = 1;
// byte  0  "SGEND\r\n\n"   8  bytes of the whole file   16  SHA-256 of all before it
constexpr std::uint8_t kEndMagic[8] = {'S', 'G', 'E', 'N', 'D', '\r', '\n', '\n'};
constexpr std::size_t kEndBytes = 48;
// A manifest: length (32 bit), that many bytes, their check.
constexpr std::uint32_t kMaxManifestBytes = 16 << 20;
constexpr std::uint64_t kMaxAllManifestBytes = 256 << 20;
constexpr std::uint32_t kMaxSnapshots = 10'000;
constexpr std::size_t kBufferBytes = 1 << 20;

}  // namespace

namespace {

// Fixed bytes, without a length.
template <std::size_t kCount>
void describe_bytes(base::ArchiveWriter& out, std::array<std::uint8_t, kCount>& bytes) {
  out.raw(bytes);
}
template <std::size_t kCount>
void describe_bytes(base::ArchiveReader& in, std::array<std::uint8_t, kCount>& bytes) {
  const base::ConstBytes found = in.raw(kCount);
  std::copy(found.begin(), found.end(), bytes.begin());
}

}  // namespace

template <class Archive>
void describe(Archive& archive, Manifest& manifest) {
  archive.section("SNAP", 1);
  SnapshotInfo& info = manifest.info;
  bool has_parent = info.parent.has_value();
  describe_bytes(archive, info.id.bytes);
  archive(has_parent);
  if (has_parent) {
    if constexpr (Archive::kReads) info.parent.emplace();
    describe_bytes(archive, info.parent->bytes);
  }
  archive(info.metadata, info.raw_bytes, info.stored_bytes, info.new_bytes);
  describe_bytes(archive, manifest.root);
  archive(manifest.list);
}

base::Result<void> ExportWriter::put(base::ConstBytes bytes) {
  hasher_.update(bytes);
  bytes_ += bytes.size();
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  return buffer_.size() >= kBufferBytes ? flush() : base::Result<void>();
}

base::Result<void> ExportWriter::flush() {
  auto written = file_.write_at(bytes_ - buffer_.size(), buffer_);
  buffer_.clear();
  return written;
}

base::Result<void> ExportWriter::head(const ExportHead& head) {
  std::uint8_t bytes[kHeadBytes] = {};
  std::copy(std::begin(kMagic), std::end(kMagic), bytes);
  base::store_le(&bytes[8], kFormat);
  base::store_le(&bytes[12], head.snapshots);
  base::store_le(&bytes[16], head.chunks);
  base::store_le(&bytes[24], check_of(base::ConstBytes(bytes, 24)));
  return put(bytes);
}

base::Result<void> ExportWriter::manifest(Manifest manifest) {
  base::ArchiveWriter out;
  out(manifest);
  const std::vector<std::uint8_t> bytes = out.take();
  if (bytes.size() > kMaxManifestBytes) {
    return base::Error{
        base::ErrorCode::kResourceExhausted,
        fmt::format("export snapshot '{}': its list of chunks is too long", manifest.info.label())};
  }
  std::uint8_t length[4];
  base::store_le(length, static_cast<std::uint32_t>(bytes.size()));
  std::uint8_t check[8];
  base::store_le(check, check_of(bytes));
  if (auto done = put(length); !done.ok()) return done;
  if (auto done = put(bytes); !done.ok()) return done;
  return put(check);
}

base::Result<void> ExportWriter::end() {
  std::uint8_t bytes[kEndBytes] = {};
  std::copy(std::begin(kEndMagic), std::end(kEndMagic), bytes);
  base::store_le(&bytes[8], bytes_ + kEndBytes);
  hasher_.update(base::ConstBytes(bytes, 16));
  const ChunkHash hash = hasher_.finish();
  std::copy(hash.begin(), hash.end(), &bytes[16]);
  bytes_ += kEndBytes;
  buffer_.insert(buffer_.end(), std::begin(bytes), std::end(bytes));
  return flush();
}

ExportReader::ExportReader(base::File& file, std::filesystem::path path)
    : file_(&file), path_(std::move(path)), hasher_(std::make_unique<Hasher>()) {}

base::Error ExportReader::damaged(const std::string& what) const {
  return {base::ErrorCode::kCorrupt,
          fmt::format("the exported file '{}' is damaged: {}; nothing of it was taken over",
                      path_.string(), what)};
}

// The next `count` bytes, no more than a manifest or a record has, and some more read ahead.
base::Result<base::ConstBytes> ExportReader::peek(std::size_t count) {
  const std::size_t there = buffer_.size() - buffer_at_;
  if (there < count) {
    if (count - there > size_ - position_ - there) return damaged("it is cut off");
    buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(buffer_at_));
    buffer_at_ = 0;
    const std::uint64_t left = size_ - position_ - there;
    const std::uint64_t more = std::min<std::uint64_t>(left, std::max(count - there, kBufferBytes));
    buffer_.resize(there + static_cast<std::size_t>(more));
    auto read = file_->read_at(position_ + there, base::Bytes(buffer_).subspan(there));
    if (!read.ok()) return read.error();
  }
  return base::ConstBytes(buffer_).subspan(buffer_at_, count);
}

base::Result<base::ConstBytes> ExportReader::take(std::size_t count) {
  auto bytes = peek(count);
  if (!bytes.ok()) return bytes;
  hasher_->update(bytes.value());
  buffer_at_ += count;
  position_ += count;
  return bytes;
}

base::Result<ExportReader> ExportReader::begin(base::File& file,
                                               const std::filesystem::path& path) {
  ExportReader reader(file, path);
  auto size = file.size();
  if (!size.ok()) return size.error();
  reader.size_ = size.value();
  const base::Error no_export{base::ErrorCode::kInvalidArgument,
                              fmt::format("'{}' is not an exported snapshot", path.string())};
  if (reader.size_ < kHeadBytes + kEndBytes) return no_export;
  auto head = reader.take(kHeadBytes);
  if (!head.ok()) return head.error();
  const base::ConstBytes bytes = head.value();
  if (!std::equal(std::begin(kMagic), std::end(kMagic), bytes.begin())) return no_export;
  if (base::load_le<std::uint64_t>(&bytes[24]) != check_of(bytes.first(24))) {
    return reader.damaged("its head fails its checksum");
  }
  if (base::load_le<std::uint32_t>(&bytes[8]) != kFormat) {
    return base::Error{base::ErrorCode::kUnsupported,
                       fmt::format("'{}' has a format that this library does not know: use a newer "
                                   "library",
                                   path.string())};
  }
  reader.head_.snapshots = base::load_le<std::uint32_t>(&bytes[12]);
  reader.head_.chunks = base::load_le<std::uint64_t>(&bytes[16]);
  // Every snapshot and chunk takes some bytes of the file.
  if (reader.head_.snapshots > kMaxSnapshots ||
      reader.head_.chunks > reader.size_ / kRecordHeadBytes) {
    return reader.damaged("its head says something impossible");
  }
  return reader;
}

base::Result<Manifest> ExportReader::manifest() {
  auto length_bytes = take(4);
  if (!length_bytes.ok()) return length_bytes.error();
  const auto length = base::load_le<std::uint32_t>(length_bytes.value().data());
  manifest_bytes_ += length;
  if (length > kMaxManifestBytes || manifest_bytes_ > kMaxAllManifestBytes) {
    return damaged("a manifest is too long");
  }
  auto bytes = take(std::size_t{length} + 8);
  if (!bytes.ok()) return bytes.error();
  const base::ConstBytes content = bytes.value().first(length);
  if (base::load_le<std::uint64_t>(bytes.value().data() + length) != check_of(content)) {
    return damaged("a manifest fails its checksum");
  }
  Manifest manifest;
  base::ArchiveReader in(content);
  in(manifest);
  if (!in.finished()) return damaged("a manifest makes no sense");
  if (auto checked = check_metadata(manifest.info.metadata); !checked.ok()) {
    return damaged(checked.error().message);
  }
  auto objects = objects_in_list(manifest.list);
  if (!objects.ok()) return damaged(objects.error().message);
  manifest.info.objects = std::move(objects).value();
  return manifest;
}

base::Result<ExportReader::Record> ExportReader::record() {
  auto head_bytes = peek(kRecordHeadBytes);
  if (!head_bytes.ok()) return head_bytes.error();
  auto head = parse_record_head(head_bytes.value());
  if (!head.ok()) return damaged("a chunk: " + head.error().message);
  auto bytes = take(kRecordHeadBytes + head.value().stored_bytes);
  if (!bytes.ok()) return bytes.error();
  raw_.resize(head.value().raw_bytes);
  auto unpacked = unpack_record(head.value(), bytes.value().subspan(kRecordHeadBytes), raw_);
  if (!unpacked.ok()) return damaged("a chunk: " + unpacked.error().message);
  return Record{head.value(), bytes.value(), raw_};
}

base::Result<void> ExportReader::end() {
  auto front = take(16);
  if (!front.ok()) return front.error();
  if (!std::equal(std::begin(kEndMagic), std::end(kEndMagic), front.value().begin()) ||
      base::load_le<std::uint64_t>(front.value().data() + 8) != size_) {
    return damaged("it does not end where it should");
  }
  const ChunkHash expected = hasher_->finish();
  auto hash = peek(expected.size());
  if (!hash.ok()) return hash.error();
  position_ += expected.size();
  if (position_ != size_ || !std::equal(expected.begin(), expected.end(), hash.value().begin())) {
    return damaged("its contents have another hash");
  }
  return {};
}

}  // namespace snowglobe::snapshots
