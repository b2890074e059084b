// tests/translator/sequence/machine.h - a small machine that runs a program to its end, in the
// interpreter or in the translator, and what can be compared afterwards.
#pragma once

#include "tests/translator/sequence/program.h"
#include "vm/cpu/cpu.h"
#include "vm/cpu/interpreter.h"
#include "vm/cpu/translator/translator.h"

#include <memory>
#include <optional>
#include <string>

namespace snowglobe::sequence {

/// A machine after a program.
struct Ending {
  std::optional<vm::StopReason> reason;  ///< none: not at an end after many instructions
  u32 vector = 0;                        ///< whose handler stopped it
  std::array<u32, 6> frame{};            ///< on the handler's stack
  vm::CpuState state;
};

class Machine {
 public:
  /// `options` none: the interpreter.
  explicit Machine(const std::optional<vm::TranslatorOptions>& options);

  void run(const Program& program);
  [[nodiscard]] const Ending& ending() const { return ending_; }
  /// Bytes of physical page `page` as far as they must be the same everywhere.
  [[nodiscard]] std::array<u8, vm::kPageSize> page(u32 page) const;
  [[nodiscard]] u32 first_page() const;
  [[nodiscard]] u32 last_page() const;
  [[nodiscard]] vm::Translator* translator() { return translator_.get(); }

 private:
  void map(u32 linear, u32 physical, u32 rights, bool lazy);
  void build_system();
  void build_handlers(bool user);
  void prepare(const Program& program);
  void finish(const Program& program, std::optional<vm::StopReason> reason);
  void put(u32 physical, u32 value);
  [[nodiscard]] u32 get(u32 physical) const;

  std::unique_ptr<vm::GuestRam> ram_;
  std::unique_ptr<vm::PortBus> ports_;
  std::unique_ptr<vm::InterruptController> interrupts_;
  std::unique_ptr<vm::TscSource> clock_;
  std::unique_ptr<vm::Cpu> cpu_;
  std::unique_ptr<vm::Interpreter> interpreter_;
  std::unique_ptr<vm::Translator> translator_;
  Ending ending_;
};

/// What differs between two machines after the same program, for people; empty: nothing.
std::string difference(const Machine& expected, const Machine& actual);

}  // namespace snowglobe::sequence
