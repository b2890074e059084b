// vm/bus/port_map.cc - look-up and splitting of port accesses.
#include "vm/bus/port_map.h"

#include <algorithm>

namespace snowglobe::vm {

namespace {

constexpr u32 kPorts = 65536;

constexpr u32 all_ones(unsigned size) {
  return size == 4 ? ~u32{0} : (u32{1} << (8 * size)) - 1;
}

}  // namespace

PortMap::PortMap() : owner_(kPorts, 0) {}

bool PortMap::claim(u16 first, u32 count, unsigned width, PortDevice* device) {
  if (count == 0 || first + count > kPorts) return false;
  const auto begin = owner_.begin() + first;
  if (std::any_of(begin, begin + count, [](u8 owner) { return owner != 0; })) return false;
  const u8 slot = slot_for(width, device);
  if (slot == 0) return false;
  ++slots_[slot].ranges;
  std::fill(begin, begin + count, slot);
  return true;
}

void PortMap::release(u16 first, u32 count, PortDevice* device) {
  bool found = false;
  u8 slot = 0;
  for (u32 port = first; port < first + count && port < kPorts; ++port) {
    if (owner_[port] == 0 || slots_[owner_[port]].device != device) continue;
    slot = owner_[port];
    owner_[port] = 0;
    found = true;
  }
  if (found && --slots_[slot].ranges == 0) slots_[slot] = {};
}

u8 PortMap::slot_for(unsigned width, PortDevice* device) {
  u8 free_slot = 0;
  for (unsigned i = 1; i < slots_.size(); ++i) {
    const Slot& slot = slots_[i];
    if (slot.device == device && slot.width == width) return static_cast<u8>(i);
    if (slot.device == nullptr && free_slot == 0) free_slot = static_cast<u8>(i);
  }
  if (free_slot != 0) slots_[free_slot] = {device, width, 0};
  return free_slot;
}

const PortMap::Slot* PortMap::whole(u16 port, unsigned size) const {
  const u8 owner = owner_[port];
  const Slot& slot = slots_[owner];
  if (size > slot.width && owner != 0) return nullptr;
  for (unsigned i = 1; i < size; ++i) {
    if (port + i >= kPorts || owner_[port + i] != owner) return nullptr;
  }
  return &slot;
}

u32 PortMap::in(u16 port, unsigned size) {
  if (const Slot* slot = whole(port, size)) {
    return slot->device == nullptr ? all_ones(size) : slot->device->in(port, size) & all_ones(size);
  }
  u32 value = 0;
  for (unsigned i = 0; i < size; ++i) {
    value |= in(static_cast<u16>(port + i), 1) << (8 * i);
  }
  return value;
}

void PortMap::out(u16 port, unsigned size, u32 value) {
  if (const Slot* slot = whole(port, size)) {
    if (slot->device != nullptr) slot->device->out(port, size, value & all_ones(size));
    return;
  }
  for (unsigned i = 0; i < size; ++i) {
    out(static_cast<u16>(port + i), 1, (value >> (8 * i)) & 0xFF);
  }
}

}  // namespace snowglobe::vm
