// api/src/disk_io.cc - requests to a disk's file: at once, on the data thread, on the sync thread.
#include "api/src/disk_io.h"

#include <algorithm>
#include <ctime>

namespace snowglobe::detail {
namespace {

using base::Error;
using base::ErrorCode;
using vm::BlockAnswer;
using vm::u64;

constexpr u64 kPage = DiskHistory::kPage;
// Writing into the page cache costs no more than copying for another thread, until the host has so
// many dirty pages that it lets writers wait. Once that was noticed, only small writes are done at
// once for a while.
constexpr auto kSlowWrite = std::chrono::milliseconds(3);
constexpr auto kSlowTime = std::chrono::seconds(1);
constexpr u64 kSmallWrite = 16 << 10;
constexpr u64 kZeroBytes = 1 << 20;
// Such a one is of a bulk load or a checkpoint, and there will be a flush: the host's disk begins
// now, while the guest goes on.
constexpr u64 kLargeWrite = 64 << 10;

template <class Parts>
u64 total_of(const Parts& parts) {
  u64 total = 0;
  for (const auto& part : parts)
    total += part.size();
  return total;
}

/// How long this thread has computed.
std::chrono::nanoseconds computed() {
  timespec time{};
  (void)::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

}  // namespace

base::Result<std::unique_ptr<DiskIo>> DiskIo::start(std::unique_ptr<base::File> file,
                                                    std::shared_ptr<DiskHistory> history,
                                                    Settings settings) {
  std::unique_ptr<DiskIo> io(new DiskIo(std::move(file), std::move(history), std::move(settings)));
  for (const auto& [worker, name] :
       {std::pair(&io->data_, "snowglobe-disk"), std::pair(&io->syncs_, "snowglobe-sync")}) {
    auto started = IoWorker::start(name);
    if (!started) return started.error();
    *worker = std::move(started).value();
  }
  return io;
}

DiskIo::DiskIo(std::unique_ptr<base::File> file, std::shared_ptr<DiskHistory> history,
               Settings settings)
    : file_(std::move(file)), history_(std::move(history)), settings_(std::move(settings)) {}

DiskIo::~DiskIo() {
  data_.reset();
  syncs_.reset();
}

// --- failing

Error DiskIo::fail(const Error& error, bool tell) {
  {
    const std::lock_guard lock(mutex_);
    if (failed_) return *failed_;
    failed_ = error;
    has_failed_.store(true, std::memory_order_release);
  }
  if (tell && settings_.on_failed) settings_.on_failed(error);
  return error;
}

bool DiskIo::close(const Error& why, base::Nanoseconds limit) {
  (void)fail(why, false);
  return wait_idle(limit);
}

std::optional<Error> DiskIo::failed() const {
  const std::lock_guard lock(mutex_);
  return failed_;
}

base::Result<void> DiskIo::check() const {
  if (!has_failed_.load(std::memory_order_acquire)) return {};
  return *failed();
}

base::Result<void> DiskIo::check_writable() const {
  if (auto usable = check(); !usable) return usable;
  if (takes_writes_.load(std::memory_order_relaxed)) return {};
  return Error{ErrorCode::kUnavailable,
               "no machine was said to run on this disk: it takes no writes"};
}

// --- the file

/// False: it would have had to wait, and nothing was done.
base::Result<bool> DiskIo::put(u64 offset, std::span<const base::ConstBytes> parts,
                               base::File::Wait wait) {
  const u64 length = total_of(parts);
  auto noted = history_->note(offset, length, wait);
  if (!noted) return fail(noted.error());
  if (!noted.value()) return false;
  if (auto done = file_->write(settings_.start + offset, parts); !done) return fail(done.error());
  counts_.bytes_written.fetch_add(length, std::memory_order_relaxed);
  changes_.fetch_add(1, std::memory_order_acq_rel);
  return true;
}

/// Only what is not a hole changes.
base::Result<void> DiskIo::clear(u64 offset, u64 length) {
  const u64 end = offset + length;
  for (u64 at = offset; at < end && history_->needed();) {
    const auto data = file_->next_data(settings_.start + at, settings_.start + end);
    if (!data) break;
    // In pieces: what images keep of them is read into memory.
    const u64 from = data->first - settings_.start;
    const u64 to = std::min(data->second - settings_.start, from + kZeroBytes);
    auto noted = history_->note(from, to - from, base::File::Wait::kYes);
    if (!noted) return fail(noted.error());
    at = to;
  }
  const auto punched = file_->punch(settings_.start + offset, length);
  if (!punched) return fail(punched.error());
  if (!punched.value()) {
    if (auto done = write_zeros(offset, length); !done) return done;
  }
  counts_.bytes_discarded.fetch_add(length, std::memory_order_relaxed);
  changes_.fetch_add(1, std::memory_order_acq_rel);
  return {};
}

/// Where the file system knows no holes.
base::Result<void> DiskIo::write_zeros(u64 offset, u64 length) {
  const std::vector<std::uint8_t> zeros(std::min(length, kZeroBytes));
  for (u64 at = 0; at < length; at += zeros.size()) {
    const auto part = base::ConstBytes(zeros).first(std::min<u64>(zeros.size(), length - at));
    if (auto done = file_->write_at(settings_.start + offset + at, part); !done)
      return fail(done.error());
  }
  return {};
}

base::Result<void> DiskIo::sync() {
  if (auto usable = check(); !usable) return usable;
  const u64 changes = changes_.load(std::memory_order_acquire);
  if (auto done = file_->sync(); !done) return fail(done.error());
  counts_.syncs.fetch_add(1, std::memory_order_relaxed);
  u64 before = synced_.load(std::memory_order_relaxed);
  while (before < changes && !synced_.compare_exchange_weak(before, changes)) {
  }
  return {};
}

base::Result<void> DiskIo::read(u64 offset, base::Bytes out) {
  if (auto usable = check(); !usable) return usable;
  counts_.bytes_read.fetch_add(out.size(), std::memory_order_relaxed);
  return file_->read_at(settings_.start + offset, out);
}

base::Result<void> DiskIo::write(u64 offset, base::ConstBytes from) {
  if (auto usable = check_writable(); !usable) return usable;
  auto done = put(offset, {&from, 1}, base::File::Wait::kYes);
  if (!done) return done.error();
  return {};
}

base::Result<void> DiskIo::discard(u64 offset, u64 length) {
  if (auto usable = check_writable(); !usable) return usable;
  return clear(offset, length);
}

// --- the device's requests

/// True if a request that has not ended touches the same pages, and one of the two changes them.
bool DiskIo::overlaps(u64 offset, u64 length, bool changes) const {
  return std::any_of(under_way_.begin(), under_way_.end(), [&](const Span& span) {
    return (changes || span.changes) && offset < span.end && offset + length > span.begin;
  });
}

BlockAnswer DiskIo::submit_read(u64 ticket, u64 offset, std::span<const base::Bytes> into) {
  if (!check()) return BlockAnswer::kFailed;
  const u64 length = total_of(into);
  counts_.bytes_read.fetch_add(length, std::memory_order_relaxed);
  if (!overlaps(offset, length, false)) {
    const auto done = file_->read(settings_.start + offset, into, base::File::Wait::kNo);
    // A read that fails changes nothing: the guest says who needed it.
    if (!done) return BlockAnswer::kFailed;
    if (done.value()) return BlockAnswer::kDone;
  }
  return defer(ticket, offset, length, false, [this, offset, length](auto& data) {
    data.resize(length);
    return file_->read_at(settings_.start + offset, data).ok();
  });
}

BlockAnswer DiskIo::submit_write(u64 ticket, u64 offset, std::span<const base::ConstBytes> from) {
  if (!check_writable()) return BlockAnswer::kFailed;
  const u64 length = total_of(from);
  const Clock::time_point begin = Clock::now();
  if ((length <= kSmallWrite || begin >= slow_until_) && !overlaps(offset, length, true)) {
    const auto done = put(offset, from, base::File::Wait::kNo);
    if (!done) return BlockAnswer::kFailed;
    const Clock::time_point end = Clock::now();
    if (end - begin >= kSlowWrite) slow_until_ = end + kSlowTime;
    if (done.value()) {
      if (writes_back(length)) data_->post([this, offset, length] { write_back(offset, length); });
      return BlockAnswer::kDone;
    }
  }
  std::vector<std::uint8_t> copy;
  copy.reserve(length);
  for (const base::ConstBytes part : from)
    copy.insert(copy.end(), part.begin(), part.end());
  return defer(ticket, offset, length, true, [this, offset, copy = std::move(copy)](auto&) {
    const base::ConstBytes all(copy);
    if (!check().ok() || !put(offset, {&all, 1}, base::File::Wait::kYes).ok()) return false;
    if (writes_back(all.size())) write_back(offset, all.size());
    return true;
  });
}

bool DiskIo::writes_back(u64 length) const {
  return length >= kLargeWrite && settings_.durability == DiskDurability::kFull;
}

/// It may take a moment where the disk has much to do: on the data thread.
void DiskIo::write_back(u64 offset, u64 length) {
  file_->begin_write_back(settings_.start + offset, length);
}

BlockAnswer DiskIo::submit_discard(u64 ticket, u64 offset, u64 length) {
  if (!check_writable()) return BlockAnswer::kFailed;
  return defer(ticket, offset, length, true, [this, offset, length](auto&) {
    return check().ok() && clear(offset, length).ok();
  });
}

/// Has the data thread do it: in the order in which this is called, so that requests for the same
/// bytes stay in theirs.
BlockAnswer DiskIo::defer(u64 ticket, u64 offset, u64 length, bool changes, Work work) {
  counts_.deferred.fetch_add(1, std::memory_order_relaxed);
  const u64 number = next_span_++;
  under_way_.push_back(
      {number, offset / kPage * kPage, base::align_up(offset + length, kPage), changes});
  u64 user = 0;
  {
    const std::lock_guard lock(mutex_);
    user = user_;
  }
  data_->post([this, ticket, user, number, work = std::move(work)] {
    Done done{.ticket = ticket, .user = user, .span = number, .ok = false, .data = {}};
    done.ok = work(done.data);
    complete(std::move(done));
  });
  return BlockAnswer::kLater;
}

BlockAnswer DiskIo::submit_flush(u64 ticket) {
  if (!check()) return BlockAnswer::kFailed;
  counts_.flushes.fetch_add(1, std::memory_order_relaxed);
  if (settings_.durability == DiskDurability::kNone) return BlockAnswer::kDone;
  const bool clean =
      synced_.load(std::memory_order_acquire) >= changes_.load(std::memory_order_acquire);
  if (clean) return BlockAnswer::kDone;
  if (!watch_ && policy_.here()) return flush_here() ? BlockAnswer::kDone : BlockAnswer::kFailed;
  if (!watch_) watch_ = Watch{ticket, Clock::now(), computed()};
  const std::lock_guard lock(mutex_);
  flushes_.emplace_back(ticket, user_);
  // Whoever is the first of those that wait calls; the others come along.
  if (flushes_.size() == 1) syncs_->post([this] { serve_flushes(); });
  return BlockAnswer::kLater;
}

bool DiskIo::flush_here() {
  const Clock::time_point begin = Clock::now();
  const bool ok = sync().ok();
  policy_.ended_here(Clock::now() - begin);
  return ok;
}

/// All that wait now had what they are about ended before they were asked: one sync is theirs.
void DiskIo::serve_flushes() {
  std::vector<std::pair<u64, u64>> served;
  {
    const std::lock_guard lock(mutex_);
    served.swap(flushes_);
  }
  const bool ok = sync().ok();
  for (const auto& [ticket, user] : served)
    complete({.ticket = ticket, .user = user, .span = 0, .ok = ok, .data = {}});
}

// --- completions

void DiskIo::attach(std::function<void()> wake) {
  const std::scoped_lock lock(mutex_, wake_mutex_);
  wake_ = std::move(wake);
  ++user_;
}

void DiskIo::complete(Done done) {
  {
    const std::lock_guard lock(mutex_);
    done_.push_back(std::move(done));
    news_.store(true, std::memory_order_release);
  }
  // Without mutex_, which whoever is woken takes at once.
  const std::lock_guard lock(wake_mutex_);
  if (wake_) wake_();
}

void DiskIo::take_completions(const std::function<void(const Completion&)>& visit) {
  std::vector<Done> all;
  u64 user = 0;
  {
    const std::lock_guard lock(mutex_);
    all.swap(done_);
    user = user_;
    news_.store(false, std::memory_order_release);
  }
  for (const Done& done : all) {
    std::erase_if(under_way_, [&done](const Span& span) { return span.number == done.span; });
    if (watch_ && done.span == 0 && done.ticket == watch_->ticket) {
      policy_.ended_elsewhere(Clock::now() - watch_->since, computed() - watch_->computed);
      watch_.reset();
    }
    if (done.user == user) visit({.ticket = done.ticket, .ok = done.ok, .data = done.data});
  }
}

bool DiskIo::wait_idle(base::Nanoseconds limit) {
  const auto deadline = Clock::now() + limit;
  return data_->wait_idle(limit) && syncs_->wait_idle(deadline - Clock::now());
}

DiskIo::Statistics DiskIo::statistics() const {
  const auto of = [](const std::atomic<u64>& count) {
    return count.load(std::memory_order_relaxed);
  };
  return {.bytes_read = of(counts_.bytes_read),
          .bytes_written = of(counts_.bytes_written),
          .bytes_discarded = of(counts_.bytes_discarded),
          .flushes = of(counts_.flushes),
          .syncs = of(counts_.syncs),
          .deferred = of(counts_.deferred)};
}

}  // namespace snowglobe::detail
