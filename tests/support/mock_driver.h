// tests/support/mock_driver.h - the driver's side of a legacy virtio device: what Linux does, step
// by step, so that a test can also do it wrong.
#pragma once

#include "vm/cpu/environment.h"
#include "vm/memory/ram.h"
#include "vm/types.h"

#include <optional>
#include <string>
#include <vector>

namespace snowglobe::vm::test {

/// virtio 1.1, 2.6.5
enum DescriptorFlag : u16 { kDescNext = 1, kDescWrite = 2, kDescIndirect = 4 };

/// A buffer of the driver in guest memory.
struct DriverBuffer {
  u32 address = 0;
  u32 length = 0;
  bool device_writes = false;
};

/// One split virtqueue in guest memory, laid out as the legacy interface asks.
class DriverQueue {
 public:
  DriverQueue(GuestRam& ram, u32 address, u16 size);

  /// Writes descriptor `index` as it is told, right or wrong.
  void set_descriptor(u16 index, u64 address, u32 length, u16 flags, u16 next);
  /// The same into an indirect table in guest memory.
  void set_indirect(u32 table, u16 index, u64 address, u32 length, u16 flags, u16 next);
  /// Chains free descriptors for `buffers` and makes them available. Returns the head.
  u16 add(const std::vector<DriverBuffer>& buffers);
  /// Puts `head` into the available ring.
  void make_available(u16 head);
  void set_available_index(u16 index) { store16(available_ + 2, index); }

  struct Used {
    u16 head;
    u32 written;
  };
  /// The next entry that the device gave back, if there is one.
  std::optional<Used> take_used();
  [[nodiscard]] u16 used_index() const { return load16(used_ + 2); }
  /// With event indices: interrupt when the device gives back entry number `index`.
  void set_used_event(u16 index) { store16(available_ + 4 + 2u * size_, index); }
  /// With event indices: the device wants a kick when entry number `available_event()` is added.
  [[nodiscard]] u16 available_event() const { return load16(used_ + 4 + 8u * size_); }
  void set_no_interrupt(bool off) { store16(available_, off ? 1 : 0); }

  [[nodiscard]] u32 address() const { return descriptors_; }
  [[nodiscard]] u16 size() const { return size_; }

 private:
  [[nodiscard]] u16 load16(u32 address) const;
  void store16(u32 address, u16 value);

  GuestRam& ram_;
  u16 size_;
  u32 descriptors_, available_, used_;
  u16 next_descriptor_ = 0;
  u16 next_available_ = 0;
  u16 next_used_ = 0;
};

/// Talks to a device by the registers of the legacy transport.
class MockDriver {
 public:
  /// `bar` is the first port of the device; memory from `heap` on is the driver's.
  MockDriver(GuestRam& ram, PortBus& ports, u16 bar, u32 heap);

  /// Reset, acknowledge, negotiate (all of `wanted` that is offered), set up all queues, driver ok.
  void start(u32 wanted = ~u32{0});
  void reset();
  void set_driver_ok();
  /// Queues that the device has, set up by start().
  DriverQueue& queue(std::size_t index) { return queues_.at(index); }
  [[nodiscard]] std::size_t queue_count() const { return queues_.size(); }
  void kick(u16 index) { ports_.out(static_cast<u16>(bar_ + 16), 2, index); }

  [[nodiscard]] u32 offered_features() { return ports_.in(bar_, 4); }
  [[nodiscard]] u32 features() { return ports_.in(static_cast<u16>(bar_ + 4), 4); }
  [[nodiscard]] u8 status() { return static_cast<u8>(ports_.in(static_cast<u16>(bar_ + 18), 1)); }
  [[nodiscard]] u8 take_interrupt() {
    return static_cast<u8>(ports_.in(static_cast<u16>(bar_ + 19), 1));
  }
  [[nodiscard]] u32 config(u32 offset, unsigned size) {
    return ports_.in(static_cast<u16>(bar_ + 20 + offset), size);
  }

  /// Memory of the driver, `length` bytes, page-aligned when large.
  u32 allocate(u32 length);
  void put(u32 address, base::ConstBytes bytes);
  [[nodiscard]] std::vector<u8> get(u32 address, u32 length) const;

 private:
  GuestRam& ram_;
  PortBus& ports_;
  u16 bar_;
  u32 heap_;
  std::vector<DriverQueue> queues_;
};

}  // namespace snowglobe::vm::test
