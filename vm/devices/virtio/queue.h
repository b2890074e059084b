// vm/devices/virtio/queue.h - the device's side of a split virtqueue: the one place that checks
// what a driver put into guest memory.
//
// Everything in the rings is hostile until it has passed here: addresses, lengths, directions,
// loops, indirect tables, indices that run ahead. Whoever gets a Chain gets host spans inside of
// guest RAM, in a bounded number and of a bounded total length. A driver that breaks a rule breaks
// its queue: pop() finds nothing any more until the queue is reset, and broken() says so.
#pragma once

#include "base/bytes.h"
#include "vm/memory/ram.h"
#include "vm/types.h"

#include <vector>

namespace snowglobe::vm {

/// What a driver set up, and how far the device got. Addresses are guest-physical.
struct QueueState {
  bool ready = false;
  bool broken = false;
  u16 size = 0;            ///< entries; a power of two
  u32 descriptors = 0;     ///< virtio 1.1, 2.6.5
  u32 available = 0;       ///< 2.6.6
  u32 used = 0;            ///< 2.6.8
  u16 next_available = 0;  ///< index of the next entry to take, counted without wrapping at `size`
  u16 next_used = 0;       ///< index of the next entry to give back
  u16 signalled_used = 0;  ///< next_used when an interrupt was last considered

  bool operator==(const QueueState&) const = default;
};

template <class Archive>
void describe(Archive& archive, QueueState& state) {
  archive(state.ready, state.broken, state.size, state.descriptors, state.available, state.used,
          state.next_available, state.next_used, state.signalled_used);
}

/// A request that the driver made available: bytes to read, then bytes to fill. The spans stay
/// valid until control returns to the guest; the right to write them was acquired when the chain
/// was taken.
struct Chain {
  u16 head = 0;
  std::vector<base::ConstBytes> readable;
  std::vector<base::Bytes> writable;
  u32 readable_bytes = 0;
  u32 writable_bytes = 0;

  /// Copies readable bytes from `offset` on; returns how many there were.
  u32 read(u32 offset, base::Bytes out) const;
  /// Copies `from` into the writable bytes from `offset` on; returns how many fitted.
  u32 write(u32 offset, base::ConstBytes from) const;
};

/// Thread rule: machine's thread.
class Queue {
 public:
  /// Descriptors in one chain, indirect ones included, and its bytes: more breaks the queue.
  struct Limits {
    u16 size = 256;  ///< entries of the rings, as the device offers
    u32 chain_bytes = 1u << 20;
  };

  Queue(GuestRam& ram, const Limits& limits) : ram_(ram), limits_(limits) {}

  [[nodiscard]] u16 offered_size() const { return limits_.size; }
  /// Places the rings as the legacy interface does: one after the other from `address` on, the used
  /// ring aligned to 4096 (virtio 1.1, 2.6.2). Rings that do not fit into RAM break the queue.
  void set_up(PhysicalAddress address, bool event_index);
  void reset() {
    state_ = {};
    ++generation_;
  }
  /// Another number after each reset(), set_up() and restore(): chains taken before are not this
  /// queue's any more. No part of its state.
  [[nodiscard]] u32 generation() const { return generation_; }

  [[nodiscard]] bool ready() const { return state_.ready && !state_.broken; }
  [[nodiscard]] bool broken() const { return state_.broken; }
  /// True if the driver made a chain available that was not taken yet.
  [[nodiscard]] bool has_available();
  /// Takes the next chain. False: there is none, or the queue is (now) broken.
  [[nodiscard]] bool pop(Chain& chain);
  /// Collects a chain again that was taken before and not given back: what the driver says of it
  /// now. False: the queue is (now) broken, or was reset.
  [[nodiscard]] bool look_again(u16 head, Chain& chain);
  /// Puts the last `count` chains taken back: they will be taken again. None may have been pushed.
  void unpop(u16 count) { state_.next_available = static_cast<u16>(state_.next_available - count); }
  /// Gives a chain back with `written` bytes filled in.
  void push(u16 head, u32 written);

  /// Asks the driver for a notification when it makes the next chain available. Returns true if it
  /// has done so already, and pop() should be tried again.
  bool enable_notifications();
  /// Says that notifications are not wanted for now (a hint; they may come all the same).
  void disable_notifications();
  /// True if the driver wants an interrupt for what was pushed since this was last true.
  [[nodiscard]] bool needs_interrupt();

  [[nodiscard]] const QueueState& state() const { return state_; }
  /// True if the queue could be in this state: rings inside of RAM, or nothing set up.
  [[nodiscard]] bool could_be(const QueueState& state) const;
  /// Takes over a state from outside, checked like everything that a driver says.
  void restore(const QueueState& state, bool event_index);

 private:
  struct Descriptor;
  bool fail();
  [[nodiscard]] bool rings_fit(const QueueState& state) const;
  [[nodiscard]] u16 load16(PhysicalAddress address) const;
  void store16(PhysicalAddress address, u16 value);
  [[nodiscard]] u32 event_of_driver() const { return state_.available + 4 + 2u * state_.size; }
  [[nodiscard]] u32 event_of_device() const { return state_.used + 4 + 8u * state_.size; }
  bool walk(u16 head, Chain& chain);
  bool add(const Descriptor& descriptor, Chain& chain);

  GuestRam& ram_;
  Limits limits_;
  bool event_index_ = false;
  u32 generation_ = 0;
  QueueState state_;
};

}  // namespace snowglobe::vm
