// vm/devices/pci.h - a PCI bus with configuration mechanism 1, its host bridge, and the base of
// functions.
#pragma once

#include "vm/bus/port_map.h"
#include "vm/types.h"

#include <array>
#include <functional>
#include <memory>

namespace snowglobe::vm {

/// What a function says of itself (PCI Local Bus 3.0, 6.1).
struct PciIdentity {
  u16 vendor = 0;
  u16 device = 0;
  u32 class_code = 0;  ///< base class, sub-class, interface: 24 bits
  u8 revision = 0;
  u16 subsystem_vendor = 0;
  u16 subsystem = 0;
};

/// The part of a function's configuration space that the guest can change.
struct PciFunctionState {
  u16 command = 0;
  u32 bar0 = 0;
  u8 interrupt_line = 0xFF;
  u8 cache_line_size = 0;
  u8 latency_timer = 0;

  bool operator==(const PciFunctionState&) const = default;
};

/// A single function with at most one I/O BAR and no capabilities. Machine's thread.
class PciFunction {
 public:
  explicit PciFunction(const PciIdentity& identity) : identity_(identity) {}
  virtual ~PciFunction() = default;
  PciFunction(const PciFunction&) = delete;
  PciFunction& operator=(const PciFunction&) = delete;

  /// The aligned 32-bit word of configuration space that holds `offset`.
  [[nodiscard]] u32 read_config(u8 offset) const;
  /// Writes the bytes of `value` that `byte_mask` (bits 0-3) selects.
  void write_config(u8 offset, u32 value, unsigned byte_mask);

  /// Gives the function `bar_size` ports (a power of two) at `base`, and an interrupt line, as a
  /// BIOS would have: the guest takes both from configuration space.
  void assign(PortMap& ports, PortDevice* registers, u32 bar_size, u16 base, u8 irq);

  [[nodiscard]] const PciFunctionState& pci_state() const { return state_; }
  void restore_pci(const PciFunctionState& state);
  /// First port of the BAR, as currently mapped.
  [[nodiscard]] u16 bar_base() const { return static_cast<u16>(state_.bar0 & ~u32{3}); }

 private:
  void map();
  void unmap();

  PciIdentity identity_;
  PciFunctionState state_;
  u32 bar_size_ = 0;  ///< 0: no BAR
  bool mapped_ = false;
  PortMap* ports_ = nullptr;
  PortDevice* registers_ = nullptr;
};

/// Bus 0 with up to 32 devices of one function each; device 0 is the host bridge.
/// Thread rule: machine's thread.
class PciBus final : public PortDevice {
 public:
  /// `reset` is called for a reset by port 0xCF9, which lies among the bus's ports.
  explicit PciBus(std::function<void()> reset);

  /// Claims 0xCF8-0xCFF.
  void attach(PortMap& ports);
  /// Plugs `function` (not owned) into the next free device number.
  void add(PciFunction* function);

  u32 in(u16 port, unsigned size) override;
  void out(u16 port, unsigned size, u32 value) override;

  [[nodiscard]] u32 address() const { return address_; }
  void restore_address(u32 address) { address_ = address; }

 private:
  [[nodiscard]] PciFunction* selected() const;

  std::function<void()> reset_;
  PciFunction host_bridge_;
  std::array<PciFunction*, 32> functions_{};
  unsigned count_ = 0;
  u32 address_ = 0;  ///< port 0xCF8
};

}  // namespace snowglobe::vm
