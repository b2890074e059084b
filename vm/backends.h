// vm/backends.h - what the machine's devices need of their host, as interfaces.
#pragma once

#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"
#include "vm/types.h"

#include <functional>
#include <span>
#include <string>

namespace snowglobe::vm {

/// How a request to an AsyncBlock went.
enum class BlockAnswer : u8 {
  kDone,
  kFailed,
  kLater,  ///< a completion with its ticket will come
};

/// Requests that the host may take long for. All offsets and totals are multiples of 512 and inside
/// the capacity; parts may have any length. Memory of the caller is used during the call only: it
/// is guest RAM, which may change or go away as soon as the guest runs again.
///
/// Requests that are under way at the same time may end in any order, but those that touch the same
/// bytes take effect in the order in which they were submitted. A flush ends when all is durable
/// that had ended before it was submitted.
///
/// Thread rule: machine's thread, if nothing else is said.
class AsyncBlock {
 public:
  struct Completion {
    u64 ticket = 0;
    bool ok = false;
    base::ConstBytes data;  ///< of a read; valid during the visit
  };

  virtual ~AsyncBlock() = default;
  /// `wake` is called when there are completions to take: on any thread, not inside of a call to
  /// this, and never once attach() was called again or with null. Requests that an earlier user has
  /// under way are carried out, but he hears no more of them. Any thread.
  virtual void attach(std::function<void()> wake) = 0;

  /// `into` is filled if the answer is kDone; else it may hold anything, or comes as
  /// Completion::data.
  virtual BlockAnswer submit_read(u64 ticket, u64 offset, std::span<const base::Bytes> into) = 0;
  virtual BlockAnswer submit_write(u64 ticket, u64 offset,
                                   std::span<const base::ConstBytes> from) = 0;
  virtual BlockAnswer submit_flush(u64 ticket) = 0;
  /// The range reads as zeros afterwards.
  virtual BlockAnswer submit_discard(u64 ticket, u64 offset, u64 length) = 0;

  /// A hint, cheap: take_completions() has something to show.
  [[nodiscard]] virtual bool has_completions() const noexcept = 0;
  virtual void take_completions(const std::function<void(const Completion&)>& visit) = 0;
  /// Returns when nothing is under way; completions may wait to be taken. False: the limit passed.
  [[nodiscard]] virtual bool wait_idle(base::Nanoseconds limit) = 0;
};

/// The bytes behind a virtio block device. Called on the machine's thread; offsets and lengths are
/// multiples of 512 and inside capacity().
class BlockBackend {
 public:
  virtual ~BlockBackend() = default;
  /// Not null: requests go there instead, and read() to discard() are not called.
  [[nodiscard]] virtual AsyncBlock* asynchronous() { return nullptr; }
  [[nodiscard]] virtual u64 capacity() const = 0;  ///< bytes
  [[nodiscard]] virtual bool read_only() const = 0;
  virtual base::Result<void> read(u64 offset, base::Bytes out) = 0;
  virtual base::Result<void> write(u64 offset, base::ConstBytes from) = 0;
  virtual base::Result<void> flush() = 0;
  /// Gives the range back; it reads as zeros afterwards.
  virtual base::Result<void> discard(u64 offset, u64 length) = 0;
};

/// The host's end of a virtio console port. Called on the machine's thread.
class PortBackend {
 public:
  virtual ~PortBackend() = default;
  /// The guest wrote these bytes. Returns how many were taken; the rest is offered again later.
  virtual std::size_t on_data(base::ConstBytes data) = 0;
  /// The guest's driver opened or closed the port.
  virtual void on_open(bool open) = 0;
  /// There is room again for bytes towards the guest.
  virtual void on_send_ready() = 0;
};

/// Where the machine's thread waits while the guest idles, and what it polls while the guest runs.
/// All sockets and timers of a machine hang on one loop, so that no hop between threads is needed.
class EventLoop {
 public:
  virtual ~EventLoop() = default;
  /// Runs whatever is ready; never blocks. Machine's thread.
  virtual void poll() = 0;
  /// Runs whatever becomes ready within `limit`, at least one piece unless woken or out of time.
  virtual void wait(base::Nanoseconds limit) = 0;
  /// Makes a running or the next wait() return at once. Any thread.
  virtual void wake() noexcept = 0;
};

}  // namespace snowglobe::vm
