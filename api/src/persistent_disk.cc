// api/src/persistent_disk.cc - a data disk in a file: made, opened, marked, read and written.
#include "api/src/persistent_disk.h"

#include "api/src/redo_journal.h"
#include "base/random.h"

#include <algorithm>
#include <vector>

namespace snowglobe::detail {
namespace {

using base::Error;
using base::ErrorCode;
using vm::u64;
using Path = PersistentDisk::Path;

constexpr u64 kStart = DiskHead::kDataStart;
constexpr u64 kCopyBytes = 1 << 20;

/// Copies what is not zeros.
base::Result<void> copy_image(const DiskImage& image, HostFile& file) {
  std::vector<std::uint8_t> buffer(kCopyBytes);
  base::Result<void> outcome;
  const auto copy = [&](u64 offset, u64 length) {
    if (!outcome) return;
    const base::Bytes bytes = base::Bytes(buffer).first(length);
    image.read(offset, bytes);
    if (image.base()->damaged()) {
      outcome = image.base()->damage();
    } else if (!base::all_zero(bytes)) {
      outcome = file.write_all(kStart + offset, bytes);
    }
  };
  const DiskImage zeros(SparseDisk::zeros(image.capacity()));
  image.for_each_difference(&zeros, kCopyBytes, copy);
  return outcome;
}

base::Result<void> fill_new(HostFile& file, const DiskImage& image, u64 capacity) {
  if (auto done = file.set_size(kStart + capacity); !done) return done;
  if (auto done = copy_image(image, file); !done) return done;
  // The contents first: a head says that they are there.
  if (auto done = file.sync(); !done) return done;
  DiskRecord record;
  record.capacity = capacity;
  base::SystemRandom().fill(record.id);
  return DiskHead().write(file, record);
}

Error not_now(const char* what) {
  return {ErrorCode::kUnavailable, what};
}

/// "'PATH': what is wrong".
Error wrong(ErrorCode code, const Path& path, const std::string& what) {
  std::string text = "'";
  text.append(path.string()).append("': ").append(what);
  return {code, text};
}

}  // namespace

// --- made and opened

base::Result<void> PersistentDisk::create(const Path& path, const DiskImage& image, u64 capacity,
                                          HostFiles& files) {
  if (capacity < image.capacity() || capacity % DiskHead::kSlotBytes != 0 ||
      capacity > DiskHead::kMaxCapacity) {
    return Error{ErrorCode::kInvalidArgument, "create the disk '" + path.string() +
                                                  "': it can not have a capacity of " +
                                                  std::to_string(capacity) + " bytes"};
  }
  auto file = files.create(path);
  if (!file) return file.error();
  auto done = fill_new(*file.value(), image, capacity);
  if (done) done = files.sync_folder(path.parent_path());
  if (!done) (void)files.remove(path);  // the first error counts
  return done;
}

base::Result<std::unique_ptr<PersistentDisk>> PersistentDisk::open(const Path& path,
                                                                   Options options) {
  if (options.files == nullptr) options.files = &HostFiles::host();
  HostFiles& files = *options.files;
  const auto access = options.read_only ? HostFiles::Access::kRead : HostFiles::Access::kWrite;
  auto file = files.open(path, access);
  if (!file) return file.error();
  auto head = DiskHead::read(*file.value());
  if (!head) return head.error();
  const auto size = file.value()->size();
  if (!size) return size.error();
  const u64 capacity = head.value().record().capacity;
  if (size.value() != kStart + capacity) {
    return wrong(ErrorCode::kCorrupt, path,
                 "the disk file has " + std::to_string(size.value()) + " bytes instead of " +
                     std::to_string(kStart + capacity));
  }
  auto history = DiskHistory::of(
      file.value()->identity(), [&] { return files.open(path, HostFiles::Access::kRead); }, kStart,
      capacity, options.lease);
  if (!history) return history.error();
  std::unique_ptr<PersistentDisk> disk(
      new PersistentDisk(path, std::move(options), std::move(file).value(), std::move(head).value(),
                         std::move(history).value()));
  if (auto done = disk->complete_restore(); !done) return done.error();
  return disk;
}

PersistentDisk::PersistentDisk(Path path, Options options, std::unique_ptr<HostFile> file,
                               DiskHead head, std::shared_ptr<DiskHistory> history)
    : path_(std::move(path)),
      options_(std::move(options)),
      file_(std::move(file)),
      head_(std::move(head)),
      history_(std::move(history)) {}

PersistentDisk::~PersistentDisk() = default;

void PersistentDisk::close() {
  (void)fail(not_now("the database's disk was closed"), false);
  redo_.reset();
}

// --- marked

base::Result<void> PersistentDisk::mark(const DiskRecord& record) {
  if (auto usable = check(); !usable) return usable;
  if (options_.read_only) return not_now("the disk was opened for reading only");
  // What the new record says of the contents must be true of those that a power cut leaves.
  if (auto done = sync(); !done) return done;
  counts_.syncs.fetch_add(1, std::memory_order_relaxed);
  if (auto done = head_.write(*file_, record); !done) return fail(done.error());
  return {};
}

base::Result<u64> PersistentDisk::mark_running() {
  DiskRecord record = head_.record();
  ++record.generation;
  record.state = DiskState::kRunning;
  record.token = {};
  if (auto done = mark(record); !done) return done.error();
  takes_writes_ = true;
  return record.generation;
}

base::Result<void> PersistentDisk::mark_hibernated(const DiskToken& token) {
  takes_writes_ = false;
  DiskRecord record = head_.record();
  record.state = DiskState::kHibernated;
  record.token = token;
  return mark(record);
}

base::Result<void> PersistentDisk::mark_clean() {
  takes_writes_ = false;
  DiskRecord record = head_.record();
  record.state = DiskState::kClean;
  record.token = {};
  return mark(record);
}

// --- failing

base::Result<void> PersistentDisk::fail(const Error& error, bool tell) {
  {
    const std::lock_guard lock(mutex_);
    if (failed_) return *failed_;
    failed_ = error;
    has_failed_.store(true, std::memory_order_release);
  }
  if (tell && options_.on_failed) options_.on_failed(error);
  return error;
}

std::optional<Error> PersistentDisk::failed() const {
  const std::lock_guard lock(mutex_);
  return failed_;
}

base::Result<void> PersistentDisk::check() const {
  if (!has_failed_.load(std::memory_order_acquire)) return {};
  const std::lock_guard lock(mutex_);
  return *failed_;
}

base::Result<void> PersistentDisk::check_writable() const {
  if (auto usable = check(); !usable) return usable;
  if (!takes_writes_) return not_now("no machine was said to run on this disk: it takes no writes");
  return {};
}

// --- the guest's requests

base::Result<void> PersistentDisk::read(u64 offset, base::Bytes out) {
  if (auto usable = check(); !usable) return usable;
  counts_.bytes_read.fetch_add(out.size(), std::memory_order_relaxed);
  // A read that fails changes nothing: it is the guest's to say who needed it.
  return file_->read_all(kStart + offset, out);
}

base::Result<void> PersistentDisk::write(u64 offset, base::ConstBytes from) {
  if (auto usable = check_writable(); !usable) return usable;
  return put(offset, from.size(), from);
}

base::Result<void> PersistentDisk::discard(u64 offset, u64 length) {
  if (auto usable = check_writable(); !usable) return usable;
  return put(offset, length, {});
}

/// Changes the file; `bytes` is empty for zeros.
base::Result<void> PersistentDisk::put(u64 offset, u64 length, base::ConstBytes bytes) {
  auto noted = history_->note(offset, length, HostFile::Wait::kYes);
  if (!noted) return fail(noted.error());
  if (bytes.empty()) {
    counts_.bytes_discarded.fetch_add(length, std::memory_order_relaxed);
    return write_zeros(offset, length);
  }
  counts_.bytes_written.fetch_add(length, std::memory_order_relaxed);
  if (auto done = file_->write_all(kStart + offset, bytes); !done) return fail(done.error());
  return {};
}

base::Result<void> PersistentDisk::write_zeros(u64 offset, u64 length) {
  const auto punched = file_->punch(kStart + offset, length);
  if (!punched) return fail(punched.error());
  if (punched.value()) return {};
  const std::vector<std::uint8_t> zeros(std::min<u64>(length, kCopyBytes));
  while (length != 0) {
    const base::ConstBytes part = base::ConstBytes(zeros).first(std::min<u64>(length, kCopyBytes));
    if (auto done = file_->write_all(kStart + offset, part); !done) return fail(done.error());
    offset += part.size();
    length -= part.size();
  }
  return {};
}

base::Result<void> PersistentDisk::flush() {
  counts_.flushes.fetch_add(1, std::memory_order_relaxed);
  return options_.durability == DiskDurability::kFull ? sync() : check();
}

base::Result<void> PersistentDisk::sync() {
  if (auto usable = check(); !usable) return usable;
  counts_.syncs.fetch_add(1, std::memory_order_relaxed);
  if (auto done = file_->sync(); !done) return fail(done.error());
  return {};
}

// --- kept and put back

std::shared_ptr<const DiskImage> PersistentDisk::capture() {
  return std::make_shared<const DiskImage>(history_->instant());
}

base::Result<void> PersistentDisk::prepare_restore(std::shared_ptr<const DiskImage> image) {
  cancel_restore();
  if (auto usable = check_writable(); !usable) return usable;
  if (image->capacity() != capacity()) {
    return Error{ErrorCode::kInvalidArgument,
                 "restore the data disk: the state is of a disk of another size"};
  }
  const DiskRecord& now = record();
  auto journal =
      RedoJournal::create(*options_.files, path_,
                          {.disk = now.id, .number = now.restores + 1, .capacity = now.capacity});
  if (!journal) return journal.error();
  if (auto done = write_differences(*image, *journal.value()); !done) return done;
  if (auto done = journal.value()->finish(); !done) return done;
  redo_ = std::move(journal).value();
  return {};
}

/// Enters each page that is another one in `image`.
base::Result<void> PersistentDisk::write_differences(const DiskImage& image, RedoJournal& journal) {
  constexpr u64 kPage = RedoJournal::kPage;
  const auto current = capture();
  std::vector<std::uint8_t> theirs(kCopyBytes), ours(kCopyBytes);
  base::Result<void> outcome;
  image.for_each_difference(current.get(), kCopyBytes, [&](u64 offset, u64 length) {
    if (!outcome) return;
    image.read(offset, base::Bytes(theirs).first(length));
    outcome = file_->read_all(kStart + offset, base::Bytes(ours).first(length));
    for (u64 at = 0; at < length && outcome; at += kPage) {
      const base::ConstBytes page = base::ConstBytes(theirs).subspan(at, kPage);
      if (std::equal(page.begin(), page.end(), &ours[at])) continue;
      outcome = base::all_zero(page) ? journal.add_zeros(offset + at, kPage)
                                     : journal.add(offset + at, page);
    }
  });
  if (outcome && image.base()->damaged()) return image.base()->damage();
  return outcome;
}

void PersistentDisk::cancel_restore() {
  redo_.reset();
}

base::Result<void> PersistentDisk::commit_restore() {
  const std::unique_ptr<RedoJournal> journal = std::move(redo_);
  if (auto usable = check_writable(); !usable) return usable;
  if (journal->entries() == 0) return {};
  // If this fails, the journal may have its name all the same, and the next open() would undo what
  // the guest wrote from now on.
  if (auto done = journal->publish(); !done) return fail(done.error());
  auto done = complete_restore();
  return done ? done : fail(done.error());
}

/// Does what a journal says that is there. One that has been done is removed.
base::Result<void> PersistentDisk::complete_restore() {
  const Path path = RedoJournal::path_of(path_);
  if (!options_.files->exists(path)) return {};
  auto file = options_.files->open(path, HostFiles::Access::kRead);
  if (!file) return file.error();
  auto journal = RedoReader::open(std::move(file).value());
  if (!journal) return journal.error();
  const RedoHeader& header = journal.value().header();
  DiskRecord record = head_.record();
  if (header.disk != record.id || header.capacity != record.capacity ||
      header.number > record.restores + 1) {
    return wrong(ErrorCode::kCorrupt, path,
                 "this is the journal of a restore of another disk; if you put it there, take it "
                 "away");
  }
  if (header.number <= record.restores) {
    if (!options_.read_only) (void)options_.files->remove(path);  // or the next one does
    return {};
  }
  if (options_.read_only) {
    return not_now(
        "a restore of this database was cut off and must be completed: open it for "
        "writing once");
  }
  if (auto whole = journal.value().verify(); !whole) return whole;
  const auto apply = [this](u64 offset, u64 length, base::ConstBytes bytes) {
    return put(offset, length, bytes);
  };
  if (auto done = journal.value().for_each(apply); !done) return done;
  if (auto done = sync(); !done) return done;
  // The contents are the restored ones and durable: only now may the record say so. From then on
  // the journal is an old one, whether its removal lasts or not.
  ++record.restores;
  if (auto done = head_.write(*file_, record); !done) return fail(done.error());
  (void)options_.files->remove(path);
  return {};
}

// --- figures

PersistentDisk::Statistics PersistentDisk::statistics() const {
  return {.bytes_read = counts_.bytes_read.load(std::memory_order_relaxed),
          .bytes_written = counts_.bytes_written.load(std::memory_order_relaxed),
          .bytes_discarded = counts_.bytes_discarded.load(std::memory_order_relaxed),
          .flushes = counts_.flushes.load(std::memory_order_relaxed),
          .syncs = counts_.syncs.load(std::memory_order_relaxed)};
}

}  // namespace snowglobe::detail
