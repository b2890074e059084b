// tests/support/bare_machine.h - a processor with RAM and nothing else, for tests that run a few
// bytes of machine code. Flat ring-0 segments, paging off, the code at kCode and the stack below
// kStackTop.
#pragma once

#include "vm/cpu/cpu.h"
#include "vm/cpu/interpreter.h"

#include <initializer_list>
#include <memory>

namespace snowglobe::vm::test {

class BareMachine {
 public:
  static constexpr u32 kCode = 0x10000;
  static constexpr u32 kData = 0x20000;
  static constexpr u32 kStackTop = 0x40000;

  BareMachine()
      : ram_(GuestRam::create(8u << 20).value()),
        cpu(*ram_, ports, interrupts, clock),
        interpreter(cpu) {
    for (u8 segment = 0; segment < 6; ++segment) {
      const bool code = segment == kCs;
      cpu.state.segment[segment] = {static_cast<u16>(code ? 0x08 : 0x10),
                                    static_cast<u16>(code ? 0xC9B : 0xC93), 0, 0xFFFFFFFF};
      cpu.segment_changed(segment);
    }
    cpu.state.cr0 |= kCr0Pe;
    cpu.mode_changed();
    cpu.state.eip = kCode;
    cpu.state.gpr[kEsp] = kStackTop;
  }

  GuestRam& ram() { return *ram_; }
  void write(u32 address, std::initializer_list<u8> bytes) {
    const base::Bytes to = ram_->write(address, static_cast<u32>(bytes.size()));
    std::copy(bytes.begin(), bytes.end(), to.begin());
  }
  template <class T>
  T read(u32 address) {
    return base::load_le<T>(ram_->read(address, sizeof(T)).data());
  }
  template <class T>
  void put(u32 address, T value) {
    base::store_le(ram_->write(address, sizeof(T)).data(), value);
  }
  u32& reg(Gpr number) { return cpu.state.gpr[number]; }

  /// Runs until HLT or for `budget` instructions.
  StopReason run(u64 budget = 10000) { return interpreter.run(budget); }

 private:
  struct SilentPorts final : PortBus {
    u32 in(u16, unsigned) override { return ~0u; }
    void out(u16, unsigned, u32) override {}
  };
  struct OneVector final : InterruptController {
    u8 acknowledge() override { return vector; }
    u8 vector = 0x20;
  };
  struct StillClock final : TscSource {
    u64 ticks() override { return now; }
    u64 now = 0;
  };

  std::unique_ptr<GuestRam> ram_;

 public:
  SilentPorts ports;
  OneVector interrupts;
  StillClock clock;
  Cpu cpu;
  Interpreter interpreter;
};

}  // namespace snowglobe::vm::test
