// api/src/disk_io.h - requests to the file of a persistent disk: what is quick is done at once,
// what may wait for the host's disk on threads of its own.
//
// When data are durable: a write is answered when the host's page cache has it, which a killed
// process does not lose. A flush is answered when an fdatasync that *began after it was asked for*
// has ended, or at once if nothing was written since the last one. Flushes that come while one runs
// wait for the next one together. Which thread calls it: flush_policy.h.
//
// Failure: the first write, hole or sync that fails ends it. After a failed fdatasync nobody knows
// which pages reached the disk, and the kernel has forgotten them: trying again would "succeed".
#pragma once

#include "api/src/disk_history.h"
#include "api/src/flush_policy.h"
#include "api/src/io_worker.h"
#include "base/file_system.h"
#include "vm/backends.h"

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace snowglobe::detail {

/// What a flush of the guest means.
enum class DiskDurability : std::uint8_t {
  kFull,  ///< answered when the host's disk has it
  kNone,  ///< answered at once; the host's disk has it when the host thinks fit
};

/// Thread rule: as vm::AsyncBlock; failed(), check() and statistics() from any thread.
class DiskIo final : public vm::AsyncBlock {
 public:
  struct Settings {
    vm::u64 start = 0;  ///< of the disk in the file
    DiskDurability durability = DiskDurability::kFull;
    std::function<void(const base::Error&)> on_failed{};
  };
  struct Statistics {
    vm::u64 bytes_read = 0, bytes_written = 0, bytes_discarded = 0;
    vm::u64 flushes = 0;   ///< that were asked for
    vm::u64 syncs = 0;     ///< of the host's file
    vm::u64 deferred = 0;  ///< reads and writes that would have had to wait
  };

  /// Starts two threads. Errors: kResourceExhausted.
  static base::Result<std::unique_ptr<DiskIo>> start(std::unique_ptr<base::File> file,
                                                     std::shared_ptr<DiskHistory> history,
                                                     Settings settings);
  /// Ends what is under way.
  ~DiskIo() override;
  DiskIo(const DiskIo&) = delete;
  DiskIo& operator=(const DiskIo&) = delete;

  // --- for the device
  void attach(std::function<void()> wake) override;
  vm::BlockAnswer submit_read(vm::u64 ticket, vm::u64 offset,
                              std::span<const base::Bytes> into) override;
  vm::BlockAnswer submit_write(vm::u64 ticket, vm::u64 offset,
                               std::span<const base::ConstBytes> from) override;
  vm::BlockAnswer submit_flush(vm::u64 ticket) override;
  vm::BlockAnswer submit_discard(vm::u64 ticket, vm::u64 offset, vm::u64 length) override;
  [[nodiscard]] bool has_completions() const noexcept override {
    return news_.load(std::memory_order_acquire);
  }
  void take_completions(const std::function<void(const Completion&)>& visit) override;
  [[nodiscard]] bool wait_idle(base::Nanoseconds limit) override;

  // --- at once, while nothing is under way
  base::Result<void> read(vm::u64 offset, base::Bytes out);
  base::Result<void> write(vm::u64 offset, base::ConstBytes from);
  base::Result<void> discard(vm::u64 offset, vm::u64 length);
  /// Makes all that was written durable, whatever a flush means.
  base::Result<void> sync();

  [[nodiscard]] base::File& file() { return *file_; }
  /// Writes and holes are refused until this is called with true.
  void take_writes(bool take) { takes_writes_.store(take, std::memory_order_relaxed); }
  /// Turns the disk failed, unless it is. Returns why it is. `tell`: its user hears of it.
  base::Error fail(const base::Error& error, bool tell = true);
  /// Fails all requests from now on, with `why`. False: what is under way has not ended within
  /// `limit`. Any thread.
  bool close(const base::Error& why, base::Nanoseconds limit);
  [[nodiscard]] std::optional<base::Error> failed() const;
  /// Ok while the disk has not failed.
  [[nodiscard]] base::Result<void> check() const;
  [[nodiscard]] base::Result<void> check_writable() const;
  [[nodiscard]] Statistics statistics() const;

 private:
  using Clock = std::chrono::steady_clock;
  /// What the data thread has to do, or has done: bytes that no other request may overtake there.
  struct Span {
    vm::u64 number = 0;
    vm::u64 begin = 0, end = 0;  ///< whole pages
    bool changes = false;
  };
  struct Done {
    vm::u64 ticket = 0;
    vm::u64 user = 0;  ///< of attach()
    vm::u64 span = 0;  ///< number of its Span; 0: it has none
    bool ok = false;
    std::vector<std::uint8_t> data;
  };
  struct Counts {
    std::atomic<vm::u64> bytes_read = 0, bytes_written = 0, bytes_discarded = 0;
    std::atomic<vm::u64> flushes = 0, syncs = 0, deferred = 0;
  };

  DiskIo(std::unique_ptr<base::File> file, std::shared_ptr<DiskHistory> history, Settings settings);
  [[nodiscard]] bool overlaps(vm::u64 offset, vm::u64 length, bool changes) const;
  using Work = std::function<bool(std::vector<std::uint8_t>& data)>;
  vm::BlockAnswer defer(vm::u64 ticket, vm::u64 offset, vm::u64 length, bool changes, Work work);
  void complete(Done done);
  base::Result<bool> put(vm::u64 offset, std::span<const base::ConstBytes> parts,
                         base::File::Wait wait);
  [[nodiscard]] bool writes_back(vm::u64 length) const;
  void write_back(vm::u64 offset, vm::u64 length);
  base::Result<void> clear(vm::u64 offset, vm::u64 length);
  base::Result<void> write_zeros(vm::u64 offset, vm::u64 length);
  [[nodiscard]] bool flush_here();
  void serve_flushes();

  const std::unique_ptr<base::File> file_;
  const std::shared_ptr<DiskHistory> history_;
  const Settings settings_;
  std::atomic<bool> takes_writes_ = false;

  std::vector<Span> under_way_;  ///< of the thread that submits
  vm::u64 next_span_ = 1;
  Clock::time_point slow_until_{};  ///< the host lets writers wait
  /// Of the thread that submits: the first flush that another thread carries out, since when.
  struct Watch {
    vm::u64 ticket = 0;
    Clock::time_point since{};
    std::chrono::nanoseconds computed{};
  };
  std::optional<Watch> watch_;
  FlushPolicy policy_;

  std::atomic<vm::u64> changes_ = 1;  ///< writes and holes that have ended, and one to begin with
  std::atomic<vm::u64> synced_ = 0;   ///< changes_ before the last sync that ended

  std::mutex wake_mutex_;  // of wake_; taken after mutex_
  std::function<void()> wake_;
  mutable std::mutex mutex_;  // of what follows
  vm::u64 user_ = 0;
  std::vector<Done> done_;
  std::vector<std::pair<vm::u64, vm::u64>> flushes_;  ///< that wait: ticket and user
  std::optional<base::Error> failed_;

  std::atomic<bool> news_ = false;
  std::atomic<bool> has_failed_ = false;
  Counts counts_;
  std::unique_ptr<IoWorker> data_, syncs_;  // the first to go
};

}  // namespace snowglobe::detail
