// vm/devices/virtio/queue.cc - walking and checking descriptor chains (virtio 1.1, 2.6).
#include "vm/devices/virtio/queue.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace snowglobe::vm {

namespace {

// virtio 1.1, 2.6.5
constexpr u16 kNext = 1;
constexpr u16 kWrite = 2;
constexpr u16 kIndirect = 4;
constexpr u32 kDescriptorBytes = 16;

constexpr u16 kNoInterrupt = 1;  // 2.6.6, flags of the available ring
constexpr u16 kNoNotify = 1;     // 2.6.8, flags of the used ring

constexpr u32 kAlignment = 4096;

/// virtio 1.1, 2.6.7.2: has `event` been passed by the step from `old_index` to `new_index`?
constexpr bool passed(u16 event, u16 new_index, u16 old_index) {
  return static_cast<u16>(new_index - event - 1) < static_cast<u16>(new_index - old_index);
}

}  // namespace

u32 Chain::read(u32 offset, base::Bytes out) const {
  u32 done = 0;
  for (const base::ConstBytes part : readable) {
    if (offset >= part.size()) {
      offset -= static_cast<u32>(part.size());
      continue;
    }
    const std::size_t length = std::min(part.size() - offset, out.size() - done);
    if (length == 0) break;
    std::memcpy(out.data() + done, part.data() + offset, length);
    done += static_cast<u32>(length);
    offset = 0;
  }
  return done;
}

u32 Chain::write(u32 offset, base::ConstBytes from) const {
  u32 done = 0;
  for (const base::Bytes part : writable) {
    if (offset >= part.size()) {
      offset -= static_cast<u32>(part.size());
      continue;
    }
    const std::size_t length = std::min(part.size() - offset, from.size() - done);
    if (length == 0) break;
    std::memcpy(part.data() + offset, from.data() + done, length);
    done += static_cast<u32>(length);
    offset = 0;
  }
  return done;
}

struct Queue::Descriptor {
  u64 address = 0;
  u32 length = 0;
  u16 flags = 0;
  u16 next = 0;

  static Descriptor load(const u8* from) {
    return {base::load_le<u64>(from), base::load_le<u32>(from + 8), base::load_le<u16>(from + 12),
            base::load_le<u16>(from + 14)};
  }
};

bool Queue::fail() {
  state_.broken = true;
  return false;
}

bool Queue::rings_fit(const QueueState& state) const {
  const u32 size = state.size;
  return size != 0 && size <= limits_.size && std::has_single_bit(size) &&
         ram_.contains(state.descriptors, u64{kDescriptorBytes} * size) &&
         ram_.contains(state.available, 6 + u64{2} * size) &&
         ram_.contains(state.used, 6 + u64{8} * size);
}

void Queue::set_up(PhysicalAddress address, bool event_index) {
  event_index_ = event_index;
  const u64 size = limits_.size;
  reset();
  state_.ready = true;
  state_.size = limits_.size;
  state_.descriptors = address;
  const u64 available = u64{address} + kDescriptorBytes * size;
  const u64 used = base::align_up(available + 6 + 2 * size, kAlignment);
  state_.available = static_cast<u32>(available);
  state_.used = static_cast<u32>(used);
  if (used > ram_.size() || !rings_fit(state_)) state_.broken = true;
}

bool Queue::could_be(const QueueState& state) const {
  if (!state.ready) return state == QueueState{};
  return state.broken || rings_fit(state);
}

void Queue::restore(const QueueState& state, bool event_index) {
  event_index_ = event_index;
  ++generation_;
  state_ = state;
  if (state_.ready && !rings_fit(state_)) state_.broken = true;
}

u16 Queue::load16(PhysicalAddress address) const {
  return base::load_le<u16>(ram_.read(address, 2).data());  // inside a ring: rings_fit() was true
}

void Queue::store16(PhysicalAddress address, u16 value) {
  base::store_le(ram_.write(address, 2).data(), value);
}

bool Queue::has_available() {
  if (!ready()) return false;
  const u16 index = load16(state_.available + 2);
  const auto waiting = static_cast<u16>(index - state_.next_available);
  if (waiting > state_.size)
    return fail();  // the driver can not have more out than there are entries
  return waiting != 0;
}

bool Queue::pop(Chain& chain) {
  if (!has_available()) return false;
  const u32 slot = state_.next_available & (state_.size - 1u);
  const u16 head = load16(state_.available + 4 + 2 * slot);
  // What was read of a damaged image must not get out; the machine ends after this slice.
  if (!walk(head, chain) || ram_.damaged()) return fail();
  ++state_.next_available;
  return true;
}

bool Queue::look_again(u16 head, Chain& chain) {
  if (!ready()) return false;
  return (walk(head, chain) && !ram_.damaged()) || fail();
}

/// Collects the chain that starts at `head`. Each step uses up one of at most `size` descriptors,
/// so that a loop ends.
bool Queue::walk(u16 head, Chain& chain) {
  chain.head = head;
  chain.readable.clear();
  chain.writable.clear();
  chain.readable_bytes = chain.writable_bytes = 0;
  base::ConstBytes table = ram_.read(state_.descriptors, kDescriptorBytes * state_.size);
  bool indirect = false;
  u32 index = head;
  for (u32 steps = 0; steps < state_.size; ++steps) {
    if (index >= table.size() / kDescriptorBytes) return false;
    const Descriptor descriptor =
        Descriptor::load(table.data() + std::size_t{index} * kDescriptorBytes);
    if ((descriptor.flags & kIndirect) != 0) {
      // 2.6.5.3.1: not inside a table, not with NEXT; the table is read-only and of whole entries.
      if (indirect || (descriptor.flags & (kNext | kWrite)) != 0 || descriptor.length == 0 ||
          descriptor.length % kDescriptorBytes != 0 || descriptor.address > ram_.size()) {
        return false;
      }
      table = ram_.read(static_cast<u32>(descriptor.address), descriptor.length);
      if (table.empty()) return false;
      indirect = true;
      index = 0;
      continue;
    }
    if (!add(descriptor, chain)) return false;
    if ((descriptor.flags & kNext) == 0) return true;
    index = descriptor.next;
  }
  return false;
}

bool Queue::add(const Descriptor& descriptor, Chain& chain) {
  const u64 total = u64{chain.readable_bytes} + chain.writable_bytes + descriptor.length;
  if (descriptor.length == 0 || total > limits_.chain_bytes) return false;
  if (!base::range_fits(descriptor.address, descriptor.length, ram_.size())) return false;
  const auto address = static_cast<u32>(descriptor.address);
  if ((descriptor.flags & kWrite) != 0) {
    chain.writable.push_back(ram_.write(address, descriptor.length));
    chain.writable_bytes += descriptor.length;
    return true;
  }
  if (!chain.writable.empty()) return false;  // 2.6.4.2: what the device reads comes first
  chain.readable.push_back(ram_.read(address, descriptor.length));
  chain.readable_bytes += descriptor.length;
  return true;
}

void Queue::push(u16 head, u32 written) {
  if (!ready()) return;
  const u32 slot = state_.next_used & (state_.size - 1u);
  u8* entry = ram_.write(state_.used + 4 + 8 * slot, 8).data();
  base::store_le<u32>(entry, head);
  base::store_le<u32>(entry + 4, written);
  ++state_.next_used;
  store16(state_.used + 2, state_.next_used);
}

bool Queue::enable_notifications() {
  if (!ready()) return false;
  if (event_index_) {
    // What was made available is known already; the event is the next step beyond it.
    store16(event_of_device(), load16(state_.available + 2));
  } else {
    store16(state_.used, 0);
  }
  return has_available();
}

void Queue::disable_notifications() {
  // With event indices the old index simply is left behind; it comes round after 65,536 chains.
  if (ready() && !event_index_) store16(state_.used, kNoNotify);
}

bool Queue::needs_interrupt() {
  if (!ready() || state_.signalled_used == state_.next_used) return false;
  const u16 signalled = state_.signalled_used;
  state_.signalled_used = state_.next_used;
  if (!event_index_) return (load16(state_.available) & kNoInterrupt) == 0;
  return passed(load16(event_of_driver()), state_.next_used, signalled);
}

}  // namespace snowglobe::vm
