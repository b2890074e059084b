// api/src/redo_journal.cc - the format of restore.redo: a head, entries, and an end that says how
// many they are, each with a checksum.
#include "api/src/redo_journal.h"

#include "api/src/ready_files.h"
#include "base/archive.h"

#include <algorithm>

namespace snowglobe::detail {

template <class Archive>
void describe(Archive& archive, RedoHeader& header) {
  archive(header.disk, header.number, header.capacity);
}

namespace {

using base::Error;
using base::ErrorCode;
using vm::u64;

constexpr std::array<std::uint8_t, 8> kMark{'S', 'N', 'O', 'W', 'R', 'E', 'D', 'O'};
constexpr u64 kFormat = 1;
constexpr std::size_t kHeadBytes = 8 + 8 + 16 + 8 + 8 + 8;  // the last is a checksum

enum Kind : u64 { kData = 1, kZeros = 2, kEnd = 3 };

struct Entry {
  u64 kind = 0;
  u64 offset = 0;  ///< of the end: how many entries there are
  u64 length = 0;
  u64 sum = 0;  ///< of the fields before it and of the data
};
constexpr std::size_t kEntryBytes = 4 * 8;

template <class Archive>
void describe(Archive& archive, Entry& entry) {
  archive(entry.kind, entry.offset, entry.length, entry.sum);
}

u64 sum_of(Entry entry, base::ConstBytes data) {
  entry.sum = checksum(data);
  base::ArchiveWriter writer;
  writer(entry);
  return checksum(writer.take());
}

Error corrupt(const char* what) {
  return {ErrorCode::kCorrupt,
          std::string("the journal of a restore (restore.redo) is damaged: ") + what};
}

bool sensible(const Entry& entry, const RedoHeader& header) {
  if (entry.kind == kEnd) return entry.length == 0;
  if (entry.kind != kData && entry.kind != kZeros) return false;
  if (entry.kind == kData && entry.length > RedoJournal::kMaxData) return false;
  return entry.length != 0 && entry.offset % RedoJournal::kPage == 0 &&
         entry.length % RedoJournal::kPage == 0 &&
         base::range_fits(entry.offset, entry.length, header.capacity);
}

}  // namespace

// --- written

base::FileSystem::Path RedoJournal::path_of(const base::FileSystem::Path& disk) {
  return disk.parent_path() / "restore.redo";
}

RedoJournal::RedoJournal(base::FileSystem& files, const base::FileSystem::Path& disk)
    : files_(files), path_(path_of(disk)), work_path_(disk.parent_path() / "restore.redo.new") {}

RedoJournal::~RedoJournal() {
  file_.reset();
  if (!published_) (void)files_.remove(work_path_);  // the next one takes its place
}

base::Result<std::unique_ptr<RedoJournal>> RedoJournal::create(base::FileSystem& files,
                                                               const base::FileSystem::Path& disk,
                                                               const RedoHeader& header) {
  std::unique_ptr<RedoJournal> journal(new RedoJournal(files, disk));
  if (files.exists(journal->work_path_)) {
    if (auto done = files.remove(journal->work_path_); !done) return done.error();
  }
  auto file = files.create(journal->work_path_);
  if (!file) return file.error();
  journal->file_ = std::move(file).value();
  base::ArchiveWriter writer;
  RedoHeader fields = header;
  u64 format = kFormat;
  writer.raw(kMark);
  writer(format, fields);
  journal->buffer_ = writer.take();
  journal->buffer_.resize(kHeadBytes);
  base::store_le(&journal->buffer_[kHeadBytes - 8],
                 checksum(base::ConstBytes(journal->buffer_).first(kHeadBytes - 8)));
  return journal;
}

base::Result<void> RedoJournal::drain() {
  if (auto done = file_->write_at(written_, buffer_); !done) return done;
  written_ += buffer_.size();
  buffer_.clear();
  return {};
}

base::Result<void> RedoJournal::entry(u64 kind, u64 offset, u64 length, base::ConstBytes bytes) {
  Entry entry{.kind = kind, .offset = offset, .length = length, .sum = 0};
  entry.sum = sum_of(entry, bytes);
  base::ArchiveWriter writer;
  writer(entry);
  const std::vector<std::uint8_t> head = writer.take();
  buffer_.insert(buffer_.end(), head.begin(), head.end());
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  return buffer_.size() >= kMaxData ? drain() : base::Result<void>();
}

base::Result<void> RedoJournal::add(u64 offset, base::ConstBytes bytes) {
  ++entries_;
  return entry(kData, offset, bytes.size(), bytes);
}

base::Result<void> RedoJournal::add_zeros(u64 offset, u64 length) {
  ++entries_;
  return entry(kZeros, offset, length, {});
}

base::Result<void> RedoJournal::finish() {
  if (auto done = entry(kEnd, entries_, 0, {}); !done) return done;
  if (!buffer_.empty()) {
    if (auto done = drain(); !done) return done;
  }
  return file_->sync();
}

base::Result<void> RedoJournal::publish() {
  published_ = true;
  if (auto done = files_.rename(work_path_, path_); !done) return done;
  return files_.sync_directory(path_.parent_path());
}

// --- read

base::Result<RedoReader> RedoReader::open(std::unique_ptr<base::File> file) {
  RedoReader journal(std::move(file));
  const auto size = journal.file_->size();
  if (!size) return size.error();
  if (size.value() < kHeadBytes) return corrupt("it is too short");
  std::array<std::uint8_t, kHeadBytes> head{};
  if (auto done = journal.file_->read_at(0, head); !done) return done.error();
  const base::ConstBytes covered = base::ConstBytes(head).first(kHeadBytes - 8);
  if (!std::equal(kMark.begin(), kMark.end(), head.begin()) ||
      base::load_le<u64>(&head[kHeadBytes - 8]) != checksum(covered)) {
    return corrupt("its head is not what was written");
  }
  base::ArchiveReader reader(covered.subspan(kMark.size()));
  u64 format = 0;
  reader(format, journal.header_);
  if (format != kFormat) {
    return Error{ErrorCode::kUnsupported,
                 "the journal of a restore was written by another version of Snowglobe: open the "
                 "database with that"};
  }
  if (journal.header_.capacity > DiskHead::kMaxCapacity) return corrupt("it is of no disk");
  return journal;
}

base::Result<void> RedoReader::for_each(const Apply& apply) {
  const auto size = file_->size();
  if (!size) return size.error();
  std::vector<std::uint8_t> data;
  u64 entries = 0;
  for (u64 at = kHeadBytes;; ++entries) {
    if (!base::range_fits(at, kEntryBytes, size.value())) return corrupt("it ends early");
    std::array<std::uint8_t, kEntryBytes> bytes{};
    if (auto done = file_->read_at(at, bytes); !done) return done;
    at += kEntryBytes;
    base::ArchiveReader reader(bytes);
    Entry entry;
    reader(entry);
    if (!sensible(entry, header_)) return corrupt("an entry can not be");
    data.resize(entry.kind == kData ? entry.length : 0);
    if (!base::range_fits(at, data.size(), size.value())) return corrupt("it ends early");
    if (auto done = file_->read_at(at, data); !done) return done;
    at += data.size();
    if (entry.sum != sum_of(entry, data)) return corrupt("an entry is not what was written");
    if (entry.kind == kEnd) {
      if (entry.offset != entries || at != size.value()) return corrupt("entries are missing");
      return {};
    }
    if (auto done = apply(entry.offset, entry.length, data); !done) return done;
  }
}

base::Result<void> RedoReader::verify() {
  return for_each([](u64, u64, base::ConstBytes) { return base::Result<void>(); });
}

}  // namespace snowglobe::detail
