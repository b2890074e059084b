// vm/devices/pci.cc - configuration space and mechanism 1 (PCI Local Bus 3.0, 3.2.2.3.2 and 6.1).
#include "vm/devices/pci.h"

#include "base/check.h"

#include <algorithm>
#include <span>

namespace snowglobe::vm {

namespace {

constexpr u16 kCommandIo = 1;
constexpr u16 kCommandMaster = 4;
constexpr u16 kCommandIntxDisable = 1 << 10;
constexpr u16 kCommandWritable = kCommandIo | kCommandMaster | kCommandIntxDisable | 2;
constexpr u32 kBarIsIo = 1;
constexpr u16 kAddressPort = 0xCF8;
constexpr u16 kResetPort = 0xCF9;
constexpr u16 kDataPort = 0xCFC;
constexpr u32 kEnable = u32{1} << 31;

/// 440FX host bridge, which every kernel knows.
constexpr PciIdentity kHostBridge{.vendor = 0x8086,
                                  .device = 0x1237,
                                  .class_code = 0x060000,
                                  .revision = 2,
                                  .subsystem_vendor = 0x1AF4,
                                  .subsystem = 0x1100};

constexpr u32 expand(unsigned byte_mask) {
  u32 mask = 0;
  for (unsigned i = 0; i < 4; ++i) {
    if ((byte_mask >> i & 1) != 0) mask |= u32{0xFF} << (8 * i);
  }
  return mask;
}

}  // namespace

u32 PciFunction::read_config(u8 offset) const {
  switch (offset & 0xFC) {
    case 0x00:
      return identity_.vendor | u32{identity_.device} << 16;
    case 0x04:
      return state_.command;  // status: no capabilities, no errors
    case 0x08:
      return identity_.revision | identity_.class_code << 8;
    case 0x0C:
      return state_.cache_line_size | u32{state_.latency_timer} << 8;
    case 0x10:
      return state_.bar0;
    case 0x2C:
      return identity_.subsystem_vendor | u32{identity_.subsystem} << 16;
    case 0x3C:
      return bar_size_ == 0 ? 0 : state_.interrupt_line | u32{1} << 8;  // pin INTA
    default:
      return 0;
  }
}

void PciFunction::write_config(u8 offset, u32 value, unsigned byte_mask) {
  const u32 mask = expand(byte_mask);
  const u32 merged = (read_config(offset) & ~mask) | (value & mask);
  switch (offset & 0xFC) {
    case 0x04:
      unmap();
      state_.command = merged & kCommandWritable;
      map();
      break;
    case 0x0C:
      state_.cache_line_size = static_cast<u8>(merged);
      state_.latency_timer = static_cast<u8>(merged >> 8);
      break;
    case 0x10:
      if (bar_size_ == 0) break;
      unmap();
      state_.bar0 = (merged & ~(bar_size_ - 1)) | kBarIsIo;
      map();
      break;
    case 0x3C:
      if (bar_size_ != 0) state_.interrupt_line = static_cast<u8>(merged);
      break;
    default:
      break;  // read-only
  }
}

void PciFunction::assign(PortMap& ports, PortDevice* registers, u32 bar_size, u16 base, u8 irq) {
  ports_ = &ports;
  registers_ = registers;
  bar_size_ = bar_size;
  state_.bar0 = base | kBarIsIo;
  state_.interrupt_line = irq;
  state_.command = kCommandIo | kCommandMaster;
  map();
  SG_ASSERT(state_.mapped, "ports of a PCI function are taken");
}

bool PciFunction::could_be(const PciFunctionState& state) const {
  const u32 bar0 = bar_size_ == 0 ? 0 : (state.bar0 & ~(bar_size_ - 1)) | kBarIsIo;
  return (state.command & ~kCommandWritable) == 0 && state.bar0 == bar0 &&
         (!state.mapped || can_map(state));
}

void PciFunction::restore_pci(const PciFunctionState& state) {
  unmap();
  state_ = state;
  state_.mapped = false;
  if (state.mapped) map();
}

/// While a guest sizes the BAR (all ones written) it is out of the port space's range and simply
/// not there.
bool PciFunction::can_map(const PciFunctionState& state) const {
  if (bar_size_ == 0 || (state.command & kCommandIo) == 0) return false;
  const u32 base = state.bar0 & ~u32{3};
  return base != 0 && base + u64{bar_size_} <= 0x10000;
}

/// Claims the BAR's ports if decoding is on and the address makes sense.
void PciFunction::map() {
  if (!can_map(state_)) return;
  state_.mapped = ports_->claim(bar_base(), bar_size_, 4, registers_);
}

void PciFunction::unmap() {
  if (!state_.mapped) return;
  ports_->release(bar_base(), bar_size_, registers_);
  state_.mapped = false;
}

PciBus::PciBus(std::function<void()> reset) : reset_(std::move(reset)), host_bridge_(kHostBridge) {
  add(&host_bridge_);
}

void PciBus::attach(PortMap& ports) {
  const bool claimed = ports.claim(kAddressPort, 8, 4, this);
  SG_ASSERT(claimed, "ports of the PCI bus are taken");
  port_map_ = &ports;
}

void PciBus::add(PciFunction* function) {
  SG_ASSERT(count_ < functions_.size(), "the PCI bus is full");
  functions_[count_++] = function;
}

/// The function that the address register selects, or null: bus 0, function 0 of each device only.
PciFunction* PciBus::selected() const {
  if ((address_ & kEnable) == 0) return nullptr;
  const u32 bus = address_ >> 16 & 0xFF;
  const u32 device = address_ >> 11 & 31;
  const u32 function = address_ >> 8 & 7;
  return bus == 0 && function == 0 ? functions_[device] : nullptr;
}

PciBusState PciBus::state() const {
  PciBusState state{.address = address_, .functions = {}};
  for (const PciFunction* function : std::span(functions_).first(count_))
    state.functions.push_back(function->pci_state());
  return state;
}

bool PciBus::could_be(const PciBusState& state) const {
  if ((state.address & 3) != 0 || state.functions.size() != count_) return false;
  const auto functions = std::span(functions_).first(count_);
  for (unsigned i = 0; i < count_; ++i) {
    if (!functions[i]->could_be(state.functions[i])) return false;
    if (state.functions[i].mapped && !ports_could_be_of(state, i)) return false;
  }
  return true;
}

/// True if nobody has the ports of a function's BAR but functions, each of which will have others.
bool PciBus::ports_could_be_of(const PciBusState& state, unsigned index) const {
  const auto functions = std::span(functions_).first(count_);
  const PciFunction::Ports ports = functions[index]->ports(state.functions[index]);
  for (unsigned i = 0; i < index; ++i) {
    if (!state.functions[i].mapped) continue;
    const PciFunction::Ports others = functions[i]->ports(state.functions[i]);
    if (ports.first < others.first + others.count && others.first < ports.first + ports.count) {
      return false;
    }
  }
  for (u32 at = ports.first; at < ports.first + ports.count; ++at) {
    const PortDevice* const owner = port_map_->owner(static_cast<u16>(at));
    const bool function_has_it = std::ranges::any_of(
        functions, [owner](const PciFunction* function) { return function->answers(owner); });
    if (owner != nullptr && !function_has_it) return false;
  }
  return true;
}

void PciBus::restore(const PciBusState& state) {
  SG_DCHECK(could_be(state), "a state that was not checked");
  address_ = state.address;
  for (unsigned i = 0; i < count_; ++i)
    functions_[i]->unmap();
  for (unsigned i = 0; i < count_; ++i)
    functions_[i]->restore_pci(state.functions[i]);
}

u32 PciBus::in(u16 port, unsigned size) {
  if (port < kDataPort) {
    if (port == kAddressPort && size == 4) return address_;
    return port == kResetPort ? 0 : ~u32{0};
  }
  const PciFunction* function = selected();
  if (function == nullptr) return ~u32{0};
  return function->read_config(static_cast<u8>(address_)) >> (8 * (port & 3));
}

void PciBus::out(u16 port, unsigned size, u32 value) {
  if (port < kDataPort) {
    if (port == kAddressPort && size == 4) address_ = value & ~u32{3};
    if (port == kResetPort && size == 1 && (value & 4) != 0) reset_();
    return;
  }
  PciFunction* function = selected();
  if (function == nullptr) return;
  const unsigned shift = port & 3u;
  const unsigned byte_mask = ((1u << size) - 1) << shift & 0xF;
  function->write_config(static_cast<u8>(address_), value << (8 * shift), byte_mask);
}

}  // namespace snowglobe::vm
