// vm/devices/pci.h - a PCI bus with configuration mechanism 1, its host bridge, and the base of
// functions.
#pragma once

#include "vm/bus/port_map.h"
#include "vm/types.h"

#include <array>
#include <functional>
#include <memory>
#include <vector>

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
  bool mapped = false;  ///< the BAR's ports are the function's: decoding is on, nobody had them

  bool operator==(const PciFunctionState&) const = default;
};

template <class Archive>
void describe(Archive& archive, PciFunctionState& state) {
  archive(state.command, state.bar0, state.interrupt_line, state.cache_line_size,
          state.latency_timer, state.mapped);
}

struct PciBusState {
  u32 address = 0;                          ///< port 0xCF8
  std::vector<PciFunctionState> functions;  ///< by device number, the host bridge first

  bool operator==(const PciBusState&) const = default;
};

template <class Archive>
void describe(Archive& archive, PciBusState& state) {
  archive(state.address, state.functions);
}

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
  /// True if the function could be in this state.
  [[nodiscard]] bool could_be(const PciFunctionState& state) const;
  /// First half of a restore: gives the ports up, so that other functions can have them.
  void unmap();
  /// Second half. Takes its ports if nobody else has them.
  void restore_pci(const PciFunctionState& state);
  /// The ports of its BAR in `state`.
  struct Ports {
    u32 first;
    u32 count;
  };
  [[nodiscard]] Ports ports(const PciFunctionState& state) const {
    return {state.bar0 & ~u32{3}, bar_size_};
  }
  /// True if `device` is what answers at the function's ports.
  [[nodiscard]] bool answers(const PortDevice* device) const { return registers_ == device; }
  /// First port of the BAR, as currently mapped.
  [[nodiscard]] u16 bar_base() const { return static_cast<u16>(state_.bar0 & ~u32{3}); }

 private:
  void map();
  [[nodiscard]] bool can_map(const PciFunctionState& state) const;

  PciIdentity identity_;
  PciFunctionState state_;
  u32 bar_size_ = 0;  ///< 0: no BAR
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

  [[nodiscard]] PciBusState state() const;
  /// True if the bus could be in this state.
  [[nodiscard]] bool could_be(const PciBusState& state) const;
  void restore(const PciBusState& state);

 private:
  [[nodiscard]] PciFunction* selected() const;
  [[nodiscard]] bool ports_could_be_of(const PciBusState& state, unsigned index) const;

  std::function<void()> reset_;
  PciFunction host_bridge_;
  std::array<PciFunction*, 32> functions_{};
  unsigned count_ = 0;
  u32 address_ = 0;  ///< port 0xCF8
  const PortMap* port_map_ = nullptr;
};

}  // namespace snowglobe::vm
