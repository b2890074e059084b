// vm/devices/virtio/device.cc - the life of a virtio device: reset, negotiation, work, and
// breaking.
#include "vm/devices/virtio/device.h"

#include "base/check.h"

namespace snowglobe::vm {

namespace {

/// A ready queue of which all chains taken were given back, as between two calls of a device.
bool is_at_rest(const QueueState& queue) {
  return !queue.ready || (!queue.broken && queue.next_available == queue.next_used);
}

}  // namespace

VirtioDevice::VirtioDevice(GuestRam& ram, InterruptLine& line, VirtioType type, u32 features,
                           const std::vector<Queue::Limits>& queues)
    : line_(line),
      type_(type),
      features_(features | kFeatureAnyLayout | kFeatureIndirect | kFeatureEventIndex) {
  queues_.reserve(queues.size());
  for (const Queue::Limits& limits : queues)
    queues_.emplace_back(ram, limits);
}

void VirtioDevice::reset() {
  state_ = {};
  for (Queue& queue : queues_)
    queue.reset();
  line_.set(false);
  on_reset();
}

void VirtioDevice::set_status(u8 status) {
  if (status == 0) return reset();
  // Only the device sets NEEDS_RESET, and only a reset clears it (virtio 1.1, 2.1.1).
  const u8 kept = state_.status & kStatusNeedsReset;
  const bool was_ok = driver_ok();
  state_.status = static_cast<u8>((status & ~kStatusNeedsReset) | kept);
  if (was_ok || !driver_ok()) return;
  // A legacy driver may have filled and kicked its queues before it was ready.
  for (std::size_t i = 0; i < queues_.size(); ++i)
    notify(static_cast<u16>(i));
}

void VirtioDevice::set_queue_address(PhysicalAddress address) {
  if (state_.queue_select >= queues_.size()) return;
  Queue& queue = queues_[state_.queue_select];
  if (address == 0) {
    queue.reset();
    return;
  }
  queue.set_up(address, has_feature(kFeatureEventIndex));
  check_broken();
}

const Queue* VirtioDevice::selected_queue() const {
  return state_.queue_select < queues_.size() ? &queues_[state_.queue_select] : nullptr;
}

void VirtioDevice::notify(u16 index) {
  if (index >= queues_.size() || !driver_ok() || (state_.status & kStatusNeedsReset) != 0) return;
  if (!queues_[index].ready()) return;
  on_notify(index);
  check_broken();
}

bool VirtioDevice::poll() {
  if (restored_) [[unlikely]] {
    restored_ = false;
    on_restored();
    check_broken();
  }
  if (state_.pending == Pending::kNothing) return false;
  state_.pending = Pending::kNothing;
  if (!driver_ok() || (state_.status & kStatusNeedsReset) != 0) return false;
  on_poll();
  check_broken();
  return state_.pending == Pending::kBusy;
}

u8 VirtioDevice::take_interrupt_status() {
  const u8 status = state_.interrupt_status;
  state_.interrupt_status = 0;
  line_.set(false);
  return status;
}

void VirtioDevice::raise(u8 cause) {
  state_.interrupt_status |= cause;
  line_.set(true);
}

void VirtioDevice::signal(std::size_t index) {
  if (queues_[index].needs_interrupt()) raise(kQueueInterrupt);
}

void VirtioDevice::check_broken(const char* reason) {
  if ((state_.status & kStatusNeedsReset) != 0) return;
  for (std::size_t i = 0; i < queues_.size() && reason == nullptr; ++i) {
    if (queues_[i].broken()) reason = "a malformed virtqueue";
  }
  if (reason == nullptr) return;
  state_.status |= kStatusNeedsReset;
  ++broken_count_;
  config_changed();
  if (on_broken_) on_broken_(reason);
}

VirtioState VirtioDevice::state() const {
  VirtioState state = state_;
  for (const Queue& queue : queues_)
    state.queues.push_back(queue.state());
  SG_ASSERT(could_be(state), "a virtio device's state was asked for in the middle of a request");
  return state;
}

bool VirtioDevice::could_be(const VirtioState& state) const {
  if ((state.driver_features & ~features_) != 0 || state.pending > Pending::kBusy ||
      (state.interrupt_status & ~(kQueueInterrupt | kConfigInterrupt)) != 0 ||
      state.queues.size() != queues_.size()) {
    return false;
  }
  const bool stopped = (state.status & kStatusNeedsReset) != 0;
  for (std::size_t i = 0; i < queues_.size(); ++i) {
    if (!queues_[i].could_be(state.queues[i])) return false;
    if (!stopped && !is_at_rest(state.queues[i])) return false;
  }
  return true;
}

void VirtioDevice::restore(const VirtioState& state) {
  SG_DCHECK(could_be(state), "a state that was not checked");
  state_ = state;
  state_.queues.clear();
  for (std::size_t i = 0; i < queues_.size(); ++i)
    queues_[i].restore(state.queues[i], has_feature(kFeatureEventIndex));
  line_.set(state_.interrupt_status != 0);
  restored_ = true;
}

}  // namespace snowglobe::vm
