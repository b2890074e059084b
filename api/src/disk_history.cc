// api/src/disk_history.cc - epochs of a disk's file, and the images that look back at them.
#include "api/src/disk_history.h"

#include <algorithm>
#include <map>
#include <unistd.h>

namespace snowglobe::detail {
namespace {

using base::Error;
using base::ErrorCode;
using vm::u64;

struct Registry {
  std::mutex mutex;
  std::map<base::File::Identity, std::weak_ptr<DiskHistory>> known;
};

Registry& registry() {
  static Registry* const all = new Registry;  // databases may outlive static destructors
  return *all;
}

}  // namespace

/// The disk at the beginning of an epoch.
class DiskHistory::Instant final : public DiskBase {
 public:
  Instant(std::shared_ptr<DiskHistory> history, u64 capacity, Epochs::iterator epoch, bool reads)
      : history_(std::move(history)), capacity_(capacity), epoch_(epoch), reads_(reads) {}
  ~Instant() override { history_->release(epoch_, reads_); }
  Instant(const Instant&) = delete;
  Instant& operator=(const Instant&) = delete;

  [[nodiscard]] u64 capacity() const override { return capacity_; }
  void read(u64 offset, base::Bytes out) const override {
    if (reads_ && history_->read(epoch_, offset, out)) return;
    std::fill(out.begin(), out.end(), std::uint8_t{0});
    damaged_.store(true, std::memory_order_relaxed);
  }
  [[nodiscard]] bool damaged() const override { return damaged_.load(std::memory_order_relaxed); }
  [[nodiscard]] Error damage() const override {
    return {ErrorCode::kIo, reads_ ? "the host could not read the file of the persistent disk"
                                   : "an outline of a disk has no contents"};
  }
  [[nodiscard]] bool covers(u64 offset, u64 length) const override;
  void for_each_data(const Visit& visit) const override { visit_data(0, capacity(), visit); }
  void for_each_difference(const DiskBase& other, const Visit& visit) const override;
  [[nodiscard]] bool standalone() const override { return true; }

 private:
  friend class DiskHistory;

  void visit_data(u64 from, u64 end, const Visit& visit) const;

  const std::shared_ptr<DiskHistory> history_;
  const u64 capacity_;
  const Epochs::iterator epoch_;
  const bool reads_;
  mutable std::atomic<bool> damaged_ = false;
};

// --- one a file

DiskHistory::DiskHistory(std::unique_ptr<base::File> file, u64 start, u64 capacity,
                         std::shared_ptr<const void> lease)
    : file_(std::move(file)),
      start_(start),
      owner_(getpid()),
      lease_(std::move(lease)),
      capacity_(capacity) {}

DiskHistory::~DiskHistory() {
  if (getpid() != owner_) return;
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  const auto found = all.known.find(file_->identity());
  if (found != all.known.end() && found->second.expired()) all.known.erase(found);
}

base::Result<std::shared_ptr<DiskHistory>> DiskHistory::of(
    base::File::Identity identity,
    const std::function<base::Result<std::unique_ptr<base::File>>()>& make, u64 start, u64 capacity,
    std::shared_ptr<const void> lease) {
  std::shared_ptr<DiskHistory> there;  // if it ends here, then after the lock
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  std::weak_ptr<DiskHistory>& known = all.known[identity];
  there = known.lock();
  if (there != nullptr && there->disk_opened(lease)) {
    there->grow(capacity);
    return there;
  }
  auto file = make();
  if (!file) return file.error();
  if (file.value()->identity() != identity) {
    return Error{ErrorCode::kUnavailable, "the disk's file was replaced while it was being opened"};
  }
  std::shared_ptr<DiskHistory> history(
      new DiskHistory(std::move(file).value(), start, capacity, std::move(lease)));
  known = history;
  return history;
}

// --- instants

void DiskHistory::grow(u64 capacity) {
  const std::lock_guard lock(mutex_);
  capacity_ = std::max(capacity_, capacity);
}

std::shared_ptr<const DiskBase> DiskHistory::make_instant(u64 capacity, Epochs::iterator epoch,
                                                          bool reads) {
  ++epoch->users;
  if (reads) ++epoch->readers;
  return std::make_shared<const Instant>(shared_from_this(), capacity, epoch, reads);
}

std::shared_ptr<const DiskBase> DiskHistory::instant() {
  const std::lock_guard lock(mutex_);
  // Nothing was written since the last one: it is the same.
  if (epochs_.empty() || !epochs_.back().pages.empty()) {
    epochs_.emplace_back();
    epochs_alive_.store(epochs_.size(), std::memory_order_release);
  }
  return make_instant(capacity_, std::prev(epochs_.end()), true);
}

/// False: others may have written the file meanwhile, of which this knows nothing.
bool DiskHistory::disk_opened(std::shared_ptr<const void>& lease) {
  const std::lock_guard lock(mutex_);
  if (abandoned_) return false;
  ++disks_;
  lease_.swap(lease);  // the caller lets the old one go, after the lock
  return true;
}

/// Once nobody writes the file and nobody reads what it was, others may have it. Outlines may still
/// be there; they have nothing to do with what the file holds from then on.
std::shared_ptr<const void> DiskHistory::lease_to_drop() {
  if (disks_ != 0) return nullptr;
  for (const Epoch& epoch : epochs_) {
    if (epoch.readers != 0) return nullptr;
  }
  abandoned_ = true;
  return std::move(lease_);
}

void DiskHistory::disk_closed() {
  std::shared_ptr<const void> dropped;  // after the lock: somebody else's destructor
  const std::lock_guard lock(mutex_);
  --disks_;
  dropped = lease_to_drop();
}

void DiskHistory::release(Epochs::iterator epoch, bool reads) {
  if (getpid() != owner_) return;
  std::shared_ptr<const void> dropped;
  const std::lock_guard lock(mutex_);
  if (reads) --epoch->readers;
  if (--epoch->users == 0) drop_epoch(epoch);
  drop_unread();
  epochs_alive_.store(epochs_.size(), std::memory_order_release);
  dropped = lease_to_drop();
}

/// Nobody asks for this epoch's beginning any more. To older ones its pages were written as well,
/// and had what they have here, unless they had been written before.
void DiskHistory::drop_epoch(Epochs::iterator epoch) {
  if (epoch != epochs_.begin()) std::prev(epoch)->pages.merge(epoch->pages);
  epochs_.erase(epoch);
}

/// Contents that no instant can come to: those of epochs ahead of the first that is read.
void DiskHistory::drop_unread() {
  for (Epoch& epoch : epochs_) {
    if (epoch.readers != 0) return;
    for (auto& [number, before] : epoch.pages)
      before = Before{};
  }
}

u64 DiskHistory::kept_bytes() const {
  const std::lock_guard lock(mutex_);
  u64 pages = 0;
  for (const Epoch& epoch : epochs_) {
    pages += static_cast<u64>(std::count_if(epoch.pages.begin(), epoch.pages.end(),
                                            [](const auto& entry) { return !!entry.second.page; }));
  }
  return pages * kPage;
}

// --- before a write

/// The pages of [first, end) that this epoch has not noted. Those that no instant needs are noted
/// at once; `wanted`: the contents of those returned must be kept.
std::vector<u64> DiskHistory::not_noted(u64 first, u64 end, bool& wanted) {
  const std::lock_guard lock(mutex_);
  std::vector<u64> missing;
  if (epochs_.empty()) return missing;
  wanted = std::any_of(epochs_.begin(), epochs_.end(),
                       [](const Epoch& epoch) { return epoch.readers != 0; });
  auto& noted = epochs_.back().pages;
  for (u64 number = first; number != end; ++number) {
    if (!wanted) {
      noted.try_emplace(number);
    } else if (!noted.contains(number)) {
      missing.push_back(number);
    }
  }
  return missing;
}

/// Reads the pages `numbers`, ascending; neighbours in one go.
base::Result<bool> DiskHistory::read_befores(std::span<const u64> numbers,
                                             std::vector<Before>& befores, base::File::Wait wait) {
  std::vector<base::Bytes> parts;
  for (std::size_t first = 0; first < numbers.size(); first += parts.size()) {
    parts.clear();
    for (std::size_t i = first; i < numbers.size() && numbers[i] == numbers[first] + i - first;
         ++i) {
      befores.push_back({true, DiskPage::make()});
      parts.emplace_back(befores.back().page.writable(), kPage);
    }
    auto read = file_->read(start_ + numbers[first] * kPage, parts, wait);
    if (!read || !read.value()) return read;
  }
  for (Before& before : befores) {
    if (base::all_zero({before.page.get(), kPage})) before.page.reset();
  }
  return true;
}

base::Result<bool> DiskHistory::note(u64 offset, u64 length, base::File::Wait wait) {
  if (!needed() || length == 0) return true;
  bool wanted = false;
  const std::vector<u64> missing =
      not_noted(offset / kPage, (offset + length + kPage - 1) / kPage, wanted);
  std::vector<Before> befores;
  auto read = read_befores(missing, befores, wait);
  if (!read || !read.value()) return read;
  const std::lock_guard lock(mutex_);
  if (epochs_.empty()) return true;
  for (std::size_t i = 0; i < missing.size(); ++i)
    epochs_.back().pages.try_emplace(missing[i], std::move(befores[i]));
  return true;
}

// --- looking back

/// First the file, then what was kept: a page that is not kept by now had not been written when the
/// file was read, since it is kept before it is written.
bool DiskHistory::read(Epochs::const_iterator epoch, u64 offset, base::Bytes out) {
  if (!file_->read_at(start_ + offset, out)) return false;
  const std::lock_guard lock(mutex_);
  for (u64 at = 0; at < out.size();) {
    const u64 within = (offset + at) % kPage;
    const u64 count = std::min<u64>(out.size() - at, kPage - within);
    const u64 number = (offset + at) / kPage;
    for (auto later = epoch; later != epochs_.cend(); ++later) {
      const auto found = later->pages.find(number);
      if (found == later->pages.end()) continue;
      if (!found->second.known) return false;
      const std::uint8_t* const page = found->second.page.get();
      if (page != nullptr) {
        std::copy_n(page + within, count, &out[at]);
      } else {
        std::fill_n(&out[at], count, std::uint8_t{0});
      }
      break;
    }
    at += count;
  }
  return true;
}

bool DiskHistory::Instant::covers(u64 offset, u64 length) const {
  bool found = false;
  visit_data(offset, offset + length, [&found](u64, u64) { found = true; });
  return found;
}

/// What of [from, end) may be other than zeros: what the file has now, and what was kept. In this
/// order: what loses its place in the file in between is kept by then.
void DiskHistory::Instant::visit_data(u64 from, u64 end, const Visit& visit) const {
  const u64 start = history_->start_;
  for (u64 at = from; at < end;) {
    const auto data = history_->file_->next_data(start + at, start + end);
    if (!data) break;
    visit(data->first - start, data->second - data->first);
    at = data->second - start;
  }
  std::vector<u64> kept;
  {
    const std::lock_guard lock(history_->mutex_);
    for (auto later = epoch_; later != history_->epochs_.end(); ++later) {
      for (const auto& [number, before] : later->pages) {
        if (before.page && number * kPage < end && (number + 1) * kPage > from)
          kept.push_back(number);
      }
    }
  }
  for (const u64 number : kept)
    visit(number * kPage, kPage);
}

std::vector<u64> DiskHistory::changed_between(const Instant& a, const Instant& b) const {
  const std::lock_guard lock(mutex_);
  std::vector<u64> changed;
  bool inside = false;
  for (auto epoch = epochs_.begin(); epoch != epochs_.end(); ++epoch) {
    if (epoch == Epochs::const_iterator(a.epoch_) || epoch == Epochs::const_iterator(b.epoch_)) {
      if (inside) break;
      inside = true;
    }
    if (!inside) continue;
    for (const auto& [number, before] : epoch->pages)
      changed.push_back(number);
  }
  std::sort(changed.begin(), changed.end());
  changed.erase(std::unique(changed.begin(), changed.end()), changed.end());
  return changed;
}

void DiskHistory::Instant::for_each_difference(const DiskBase& other, const Visit& visit) const {
  const auto* const instant = dynamic_cast<const Instant*>(&other);
  if (instant == nullptr || instant->history_ != history_)
    return DiskBase::for_each_difference(other, visit);
  if (instant->epoch_ == epoch_) return;
  for (const u64 number : history_->changed_between(*this, *instant))
    visit(number * kPage, kPage);
}

std::shared_ptr<const DiskBase> DiskHistory::outline_of(const DiskBase& base) {
  const auto* const instant = dynamic_cast<const Instant*>(&base);
  if (instant == nullptr) return nullptr;
  const std::lock_guard lock(instant->history_->mutex_);
  return instant->history_->make_instant(instant->capacity_, instant->epoch_, false);
}

}  // namespace snowglobe::detail
