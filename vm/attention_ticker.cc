// vm/attention_ticker.cc - the ticking thread: started with the first machine, ended with the last.
#include "vm/attention_ticker.h"

#include "vm/blocked_signals.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <pthread.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace snowglobe::vm {
namespace {

constexpr auto kTick = std::chrono::microseconds(200);
constexpr unsigned kIdleTicks = 4;  // without any deadline, before the thread goes to sleep

u64 now_ns() {
  return static_cast<u64>(std::chrono::steady_clock::now().time_since_epoch().count());
}

}  // namespace

struct AttentionTicker::Slot {
  explicit Slot(std::atomic<u8>& flag) : attention(flag) {}
  std::atomic<u8>& attention;
  std::atomic<u64> deadline{0};  ///< steady clock, nanoseconds; 0: none
};

class AttentionTicker::Process {
 public:
  static std::shared_ptr<Process> get() {
    static std::mutex mutex;
    // Machines may outlive static destructors.
    static std::weak_ptr<Process>& current = *new std::weak_ptr<Process>;
    static pid_t owner = 0;
    const std::lock_guard lock(mutex);
    std::shared_ptr<Process> process = owner == ::getpid() ? current.lock() : nullptr;
    if (process == nullptr) {
      process = std::make_shared<Process>();
      current = process;
      owner = ::getpid();
    }
    return process;
  }

  Process() {
    const AsyncSignalsBlocked blocked;
    thread_ = std::thread([this] { run(); });
  }
  ~Process() {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void add(std::shared_ptr<Slot> slot) {
    const std::lock_guard lock(mutex_);
    slots_.push_back(std::move(slot));
  }
  void remove(const std::shared_ptr<Slot>& slot) {
    const std::lock_guard lock(mutex_);
    std::erase(slots_, slot);
  }
  void wake_if_asleep() {
    if (!asleep_.load(std::memory_order_seq_cst)) return;
    { const std::lock_guard lock(mutex_); }
    wake_.notify_one();
  }

 private:
  void run() {
    pthread_setname_np(pthread_self(), "snowglobe-tick");
    unsigned idle = 0;
    std::unique_lock lock(mutex_);
    while (!ended_) {
      idle = tick() ? 0 : idle + 1;
      if (idle < kIdleTicks) {
        lock.unlock();
        std::this_thread::sleep_for(kTick);
        lock.lock();
        continue;
      }
      // Whoever arms a slot looks at asleep_ behind it; we look at the slots behind asleep_.
      asleep_.store(true, std::memory_order_seq_cst);
      if (!tick() && !ended_) wake_.wait(lock);
      asleep_.store(false, std::memory_order_seq_cst);
      idle = 0;
    }
  }
  // True if a deadline is set.
  bool tick() {
    const u64 now = now_ns();
    bool armed = false;
    for (const auto& slot : slots_) {
      u64 deadline = slot->deadline.load(std::memory_order_seq_cst);
      if (deadline == 0) continue;
      armed = true;
      if (deadline <= now && slot->deadline.compare_exchange_strong(deadline, 0)) {
        slot->attention.store(1, std::memory_order_relaxed);
      }
    }
    return armed;
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::shared_ptr<Slot>> slots_;
  std::atomic<bool> asleep_{false};
  bool ended_ = false;
  std::thread thread_;
};

AttentionTicker::AttentionTicker(std::atomic<u8>& attention)
    : process_(Process::get()), slot_(std::make_shared<Slot>(attention)) {
  process_->add(slot_);
}

AttentionTicker::~AttentionTicker() {
  process_->remove(slot_);
}

void AttentionTicker::arm(u64 nanoseconds) {
  slot_->deadline.store(now_ns() + nanoseconds, std::memory_order_seq_cst);
  process_->wake_if_asleep();
}

void AttentionTicker::disarm() {
  slot_->deadline.store(0, std::memory_order_relaxed);
}

}  // namespace snowglobe::vm
