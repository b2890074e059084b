// api/src/persistent_disk.cc - a data disk in a file: made, opened, marked, read and written.
#include "api/src/persistent_disk.h"

#include "api/src/redo_journal.h"
#include "base/random.h"

#include <algorithm>
#include <unistd.h>
#include <vector>

namespace snowglobe::detail {
namespace {

using base::Error;
using base::ErrorCode;
using vm::u64;
using Path = PersistentDisk::Path;

constexpr u64 kStart = DiskHead::kDataStart;
constexpr u64 kCopyBytes = 1 << 20;
constexpr auto kIdleLimit = std::chrono::minutes(1);

/// Copies what is not zeros.
base::Result<void> copy_image(const DiskImage& image, base::File& file) {
  std::vector<std::uint8_t> buffer(kCopyBytes);
  base::Result<void> outcome;
  const auto copy = [&](u64 offset, u64 length) {
    if (!outcome) return;
    const base::Bytes bytes = base::Bytes(buffer).first(length);
    image.read(offset, bytes);
    if (image.base()->damaged()) {
      outcome = image.base()->damage();
    } else if (!base::all_zero(bytes)) {
      outcome = file.write_at(kStart + offset, bytes);
    }
  };
  const DiskImage zeros(SparseDisk::zeros(image.capacity()));
  image.for_each_difference(&zeros, kCopyBytes, copy);
  return outcome;
}

base::Result<void> fill_new(base::File& file, const DiskImage& image, u64 capacity) {
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
                                          base::FileSystem& files) {
  if (capacity < image.capacity() || capacity % DiskHead::kSlotBytes != 0 ||
      capacity > DiskHead::kMaxCapacity) {
    return Error{ErrorCode::kInvalidArgument, "create the disk '" + path.string() +
                                                  "': it can not have a capacity of " +
                                                  std::to_string(capacity) + " bytes"};
  }
  auto file = files.create(path);
  if (!file) return file.error();
  auto done = fill_new(*file.value(), image, capacity);
  if (done) done = files.sync_directory(path.parent_path());
  if (!done) (void)files.remove(path);  // the first error counts
  return done;
}

base::Result<std::unique_ptr<PersistentDisk>> PersistentDisk::open(const Path& path,
                                                                   Options options) {
  if (options.files == nullptr) options.files = &base::FileSystem::host();
  base::FileSystem& files = *options.files;
  const auto access =
      options.read_only ? base::FileSystem::Access::kRead : base::FileSystem::Access::kWrite;
  auto file = files.open(path, access);
  if (!file) return file.error();
  auto head = DiskHead::read(*file.value());
  if (!head) return head.error();
  const auto size = file.value()->size();
  if (!size) return size.error();
  const u64 capacity = head.value().record().capacity;
  if (size.value() < kStart + capacity) {
    return wrong(ErrorCode::kCorrupt, path,
                 "the disk file has " + std::to_string(size.value()) + " bytes instead of " +
                     std::to_string(kStart + capacity));
  }
  if (size.value() > kStart + capacity && !options.read_only) {
    // A grow() that was cut off. Nothing was written there, and the next one relies on that.
    if (auto done = file.value()->set_size(kStart + capacity); !done) return done.error();
  }
  auto history = DiskHistory::of(
      file.value()->identity(), [&] { return files.open(path, base::FileSystem::Access::kRead); },
      kStart, capacity, options.lease);
  if (!history) return history.error();
  options.lease.reset();  // the history's now
  auto io = DiskIo::start(
      std::move(file).value(), history.value(),
      {.start = kStart, .durability = options.durability, .on_failed = options.on_failed});
  if (!io) {
    history.value()->disk_closed();
    return io.error();
  }
  std::unique_ptr<PersistentDisk> disk(new PersistentDisk(
      path, std::move(options), std::move(io).value(), head.value(), std::move(history).value()));
  if (auto done = disk->complete_restore(); !done) return done.error();
  disk->io_->take_writes(false);
  return disk;
}

PersistentDisk::PersistentDisk(Path path, Options options, std::unique_ptr<DiskIo> io,
                               DiskHead head, std::shared_ptr<DiskHistory> history)
    : path_(std::move(path)),
      options_(std::move(options)),
      io_(std::move(io)),
      head_(head),
      history_(std::move(history)) {}

PersistentDisk::~PersistentDisk() {
  if (getpid() == owner_) close();
}

void PersistentDisk::close() {
  // What a thread is still writing must have ended before somebody else may have the file.
  constexpr std::chrono::seconds kLimit{10};
  if (closed_.exchange(true)) return;
  if (io_->close(not_now("the database's disk was closed"), kLimit)) history_->disk_closed();
}

// --- marked

base::Result<void> PersistentDisk::mark(const DiskRecord& record) {
  if (auto usable = io_->check(); !usable) return usable;
  if (options_.read_only) return not_now("the disk was opened for reading only");
  // What the new record says of the contents must be true of those that a power cut leaves.
  if (auto done = sync(); !done) return done;
  if (auto done = head_.write(io_->file(), record); !done) return io_->fail(done.error());
  return {};
}

base::Result<u64> PersistentDisk::mark_running() {
  DiskRecord record = head_.record();
  ++record.generation;
  record.state = DiskState::kRunning;
  record.token = {};
  if (auto done = mark(record); !done) return done.error();
  io_->take_writes(true);
  return record.generation;
}

base::Result<void> PersistentDisk::mark_hibernated(const DiskToken& token) {
  io_->take_writes(false);
  DiskRecord record = head_.record();
  record.state = DiskState::kHibernated;
  record.token = token;
  return mark(record);
}

base::Result<void> PersistentDisk::mark_clean() {
  io_->take_writes(false);
  DiskRecord record = head_.record();
  record.state = DiskState::kClean;
  record.token = {};
  return mark(record);
}

// --- at once

base::Result<void> PersistentDisk::read(u64 offset, base::Bytes out) {
  return io_->read(offset, out);
}

base::Result<void> PersistentDisk::write(u64 offset, base::ConstBytes from) {
  return io_->write(offset, from);
}

base::Result<void> PersistentDisk::discard(u64 offset, u64 length) {
  return io_->discard(offset, length);
}

base::Result<void> PersistentDisk::sync() {
  if (!io_->wait_idle(kIdleLimit)) {
    return Error{ErrorCode::kTimeout,
                 "the host's disk did not finish within a minute what it had been asked for"};
  }
  return io_->sync();
}

// --- kept and put back

base::Result<std::shared_ptr<const DiskImage>> PersistentDisk::capture() {
  if (auto usable = io_->check(); !usable) return usable.error();
  if (!io_->wait_idle({})) {
    return Error{ErrorCode::kUnavailable,
                 "the state of '" + path_.string() + "' cannot be taken while it has requests"};
  }
  return std::make_shared<const DiskImage>(history_->instant());
}

base::Result<void> PersistentDisk::grow(u64 capacity) {
  if (capacity <= record().capacity) return {};
  if (capacity % DiskHead::kSlotBytes != 0 || capacity > DiskHead::kMaxCapacity) {
    return Error{ErrorCode::kInvalidArgument, "grow the disk: it can not have a capacity of " +
                                                  std::to_string(capacity) + " bytes"};
  }
  if (auto usable = io_->check(); !usable) return usable;
  if (options_.read_only) return not_now("the disk was opened for reading only");
  // The file first: a record that says more than there is, is damage. If the host has no room,
  // nothing has changed but the file's length, which the next open() puts right.
  if (auto done = io_->file().set_size(kStart + capacity); !done) return done;
  if (auto done = io_->file().sync(); !done) return io_->fail(done.error());
  DiskRecord record = head_.record();
  record.capacity = capacity;
  if (auto done = head_.write(io_->file(), record); !done) return io_->fail(done.error());
  history_->grow(capacity);
  return {};
}

base::Result<void> PersistentDisk::prepare_restore(std::shared_ptr<const DiskImage> image) {
  cancel_restore();
  if (auto usable = io_->check_writable(); !usable) return usable;
  if (image->capacity() > capacity()) {
    return Error{ErrorCode::kInvalidArgument,
                 "restore the data disk: the state is of a larger disk"};
  }
  // What is written from here on would be missing in the journal. The guest stands still.
  if (!io_->wait_idle(kIdleLimit)) {
    return Error{ErrorCode::kTimeout,
                 "the host's disk did not finish within a minute what it had "
                 "been asked for: nothing was restored"};
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

namespace {

/// Enters what of `theirs` is not as in `ours`: runs of pages, of zeros or of others.
base::Result<void> enter_differences(RedoJournal& journal, u64 offset, base::ConstBytes theirs,
                                     base::ConstBytes ours) {
  enum class Kind : std::uint8_t { kEqual, kZeros, kData };
  constexpr u64 kPage = RedoJournal::kPage;
  const auto kind_of = [&](u64 at) {
    const base::ConstBytes page = theirs.subspan(at, kPage);
    if (std::equal(page.begin(), page.end(), &ours[at])) return Kind::kEqual;
    return base::all_zero(page) ? Kind::kZeros : Kind::kData;
  };
  for (u64 at = 0; at < theirs.size();) {
    const Kind kind = kind_of(at);
    u64 end = at + kPage;
    while (end < theirs.size() && kind_of(end) == kind)
      end += kPage;
    base::Result<void> done;
    if (kind == Kind::kZeros) done = journal.add_zeros(offset + at, end - at);
    if (kind == Kind::kData) done = journal.add(offset + at, theirs.subspan(at, end - at));
    if (!done) return done;
    at = end;
  }
  return {};
}

}  // namespace

/// Enters each page that is another one in `image`.
base::Result<void> PersistentDisk::write_differences(const DiskImage& image, RedoJournal& journal) {
  std::vector<std::uint8_t> theirs(kCopyBytes), ours(kCopyBytes);
  base::Result<void> outcome;
  u64 begin = 0, end = 0;  // of a run of pages that may differ
  const auto enter = [&] {
    if (!outcome || begin == end) return;
    const base::Bytes wanted = base::Bytes(theirs).first(end - begin);
    const base::Bytes there = base::Bytes(ours).first(end - begin);
    image.read(begin, wanted);
    outcome = io_->file().read_at(kStart + begin, there);
    if (outcome) outcome = enter_differences(journal, begin, wanted, there);
  };
  const auto current = capture();
  if (!current) return current.error();
  image.for_each_difference(current.value().get(), RedoJournal::kPage, [&](u64 offset, u64 length) {
    if (offset == end && end + length - begin <= kCopyBytes) {
      end += length;
      return;
    }
    enter();
    begin = offset;
    end = offset + length;
  });
  enter();
  if (outcome && image.base()->damaged()) return image.base()->damage();
  return outcome;
}

void PersistentDisk::cancel_restore() {
  redo_.reset();
}

base::Result<void> PersistentDisk::commit_restore() {
  const std::unique_ptr<RedoJournal> journal = std::move(redo_);
  SG_ASSERT(journal != nullptr, "a restore must be prepared before it is committed");
  if (auto usable = io_->check_writable(); !usable) return usable;
  if (journal->entries() == 0) return {};
  // The journal leaves out what is equal already; that must not be lost in a power cut either.
  if (auto done = sync(); !done) return done;
  // If this fails, the journal may have its name all the same, and the next open() would undo what
  // the guest wrote from now on.
  if (auto done = journal->publish(); !done) return io_->fail(done.error());
  auto done = complete_restore();
  return done ? done : io_->fail(done.error());
}

/// Does what a journal says that is there. One that has been done is removed.
base::Result<void> PersistentDisk::complete_restore() {
  const Path path = RedoJournal::path_of(path_);
  if (!options_.files->exists(path)) return {};
  auto file = options_.files->open(path, base::FileSystem::Access::kRead);
  if (!file) return file.error();
  auto journal = RedoReader::open(std::move(file).value());
  if (!journal) return journal.error();
  const RedoHeader& header = journal.value().header();
  DiskRecord record = head_.record();
  const bool done_before = header.number <= record.restores;
  // The disk may have grown since: an old one is of the capacity that it had then.
  if (header.disk != record.id || header.number > record.restores + 1 ||
      (!done_before && header.capacity != record.capacity)) {
    return wrong(ErrorCode::kCorrupt, path,
                 "this is the journal of a restore of another disk; if you put it there, take it "
                 "away");
  }
  if (done_before) {
    if (!options_.read_only) (void)options_.files->remove(path);  // or the next one does
    return {};
  }
  if (options_.read_only) {
    return not_now(
        "a restore of this database was cut off and must be completed: open it for "
        "writing once");
  }
  if (auto whole = journal.value().verify(); !whole) return whole;
  io_->take_writes(true);
  // The host writes dirty pages out before it punches a hole: too slow for single pages.
  constexpr u64 kSmallestHole = 256 << 10;
  const std::vector<std::uint8_t> zeros(kSmallestHole);
  const auto apply = [&](u64 offset, u64 length, base::ConstBytes bytes) {
    if (!bytes.empty()) return io_->write(offset, bytes);
    if (length >= kSmallestHole) return io_->discard(offset, length);
    return io_->write(offset, base::ConstBytes(zeros).first(length));
  };
  if (auto done = journal.value().for_each(apply); !done) return done;
  if (auto done = sync(); !done) return done;
  // The contents are the restored ones and durable: only now may the record say so. From then on
  // the journal is an old one, whether its removal lasts or not.
  ++record.restores;
  if (auto done = head_.write(io_->file(), record); !done) return io_->fail(done.error());
  (void)options_.files->remove(path);
  return {};
}

}  // namespace snowglobe::detail
