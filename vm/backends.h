// vm/backends.h - what the machine's devices need of their host, as interfaces.
#pragma once

#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"
#include "vm/types.h"

#include <string>

namespace snowglobe::vm {

/// The bytes behind a virtio block device. Called on the machine's thread; offsets and lengths are
/// multiples of 512 and inside capacity().
class BlockBackend {
 public:
  virtual ~BlockBackend() = default;
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
