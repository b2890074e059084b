// vm/devices/virtio/pci.cc - registers of the legacy transport.
#include "vm/devices/virtio/pci.h"

namespace snowglobe::vm {

namespace {

enum Register : u32 {
  kDeviceFeatures = 0,
  kDriverFeatures = 4,
  kQueueAddress = 8,
  kQueueSize = 12,
  kQueueSelect = 14,
  kQueueNotify = 16,
  kStatus = 18,
  kInterruptStatus = 19,
  kDeviceConfig = 20,
};

constexpr u32 kQueueAddressShift = 12;
constexpr u16 kVendor = 0x1AF4;
constexpr u16 kFirstDevice = 0x1000;  // transitional: 0x1000 + an index by type

struct LegacyId {
  u16 device;
  u32 class_code;
};

/// virtio 1.1, 4.1.2: transitional device ids. The class only makes lspci speak.
LegacyId legacy_id(VirtioType type) {
  switch (type) {
    case VirtioType::kNetwork:
      return {kFirstDevice, 0x020000};
    case VirtioType::kBlock:
      return {kFirstDevice + 1, 0x010000};
    case VirtioType::kConsole:
      return {kFirstDevice + 3, 0x078000};
    case VirtioType::kEntropy:
      return {kFirstDevice + 5, 0x100000};
  }
  return {kFirstDevice, 0xFF0000};
}

PciIdentity identity(VirtioType type) {
  const LegacyId id = legacy_id(type);
  return {.vendor = kVendor,
          .device = id.device,
          .class_code = id.class_code,
          .revision = 0,  // the version of the legacy interface
          .subsystem_vendor = kVendor,
          .subsystem = static_cast<u16>(type)};
}

}  // namespace

VirtioPci::VirtioPci(VirtioDevice& device)
    : PciFunction(identity(device.type())), device_(device) {}

u32 VirtioPci::in(u16 port, unsigned size) {
  const u32 offset = port - u32{bar_base()};
  switch (offset) {
    case kInterruptStatus:  // first: the one that is read at each interrupt
      return device_.take_interrupt_status();
    case kDeviceFeatures:
      return device_.offered_features();
    case kDriverFeatures:
      return device_.driver_features();
    case kQueueAddress: {
      const Queue* queue = device_.selected_queue();
      const bool set = queue != nullptr && queue->state().ready;
      return set ? queue->state().descriptors >> kQueueAddressShift : 0;
    }
    case kQueueSize: {
      const Queue* queue = device_.selected_queue();
      return queue == nullptr ? 0 : queue->offered_size();
    }
    case kQueueSelect:
      return device_.queue_select();
    case kStatus:
      return device_.status();
    default:
      break;
  }
  u32 value = 0;
  if (offset < kDeviceConfig) return value;
  for (unsigned i = 0; i < size; ++i) {
    value |= u32{device_.read_config(offset - kDeviceConfig + i)} << (8 * i);
  }
  return value;
}

void VirtioPci::out(u16 port, unsigned, u32 value) {
  switch (port - u32{bar_base()}) {
    case kQueueNotify:
      return device_.notify(static_cast<u16>(value));
    case kDriverFeatures:
      return device_.set_driver_features(value);
    case kQueueAddress:
      if (value >> (32 - kQueueAddressShift) != 0)
        value = 0xFFFFF;  // beyond 4 GiB: breaks the queue
      return device_.set_queue_address(value << kQueueAddressShift);
    case kQueueSelect:
      return device_.select_queue(static_cast<u16>(value));
    case kStatus:
      return device_.set_status(static_cast<u8>(value));
    default:
      return;  // read-only, or configuration: no device of ours has writable fields
  }
}

}  // namespace snowglobe::vm
