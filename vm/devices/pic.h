// vm/devices/pic.h - the two cascaded 8259A interrupt controllers of a PC, with the ELCR.
#pragma once

#include "vm/bus/interrupt_lines.h"
#include "vm/bus/port_map.h"
#include "vm/cpu/environment.h"
#include "vm/types.h"

#include <array>
#include <functional>

namespace snowglobe::vm {

/// One 8259A (Intel 8259A data sheet, order number 231468).
struct PicChipState {
  u8 lines = 0;            ///< levels of the request inputs
  u8 requested = 0;        ///< IRR: latched edges, or the levels of level-triggered inputs
  u8 in_service = 0;       ///< ISR
  u8 masked = 0xFF;        ///< IMR
  u8 vector_base = 0;      ///< ICW2
  u8 level_triggered = 0;  ///< ELCR: bit set, the input is level-triggered
  u8 lowest_priority = 7;  ///< rotates
  u8 next_icw = 0;         ///< 0: initialised; 2, 3, 4: the initialisation word expected next
  bool needs_icw4 = false;
  bool auto_eoi = false;
  bool rotate_on_auto_eoi = false;
  bool special_mask = false;
  bool fully_nested = false;     ///< special fully nested mode
  bool read_in_service = false;  ///< what a read of the even port shows
  bool poll = false;             ///< the next read is a poll command's

  bool operator==(const PicChipState&) const = default;
};

template <class Archive>
void describe(Archive& archive, PicChipState& state) {
  archive(state.lines, state.requested, state.in_service, state.masked, state.vector_base,
          state.level_triggered, state.lowest_priority, state.next_icw, state.needs_icw4,
          state.auto_eoi, state.rotate_on_auto_eoi, state.special_mask, state.fully_nested,
          state.read_in_service, state.poll);
}

struct PicState {
  std::array<PicChipState, 2> chip;  ///< master (IRQ 0-7), slave (IRQ 8-15, on the master's IR2)

  bool operator==(const PicState&) const = default;
};

template <class Archive>
void describe(Archive& archive, PicState& state) {
  archive(state.chip);
}
/// True if the pair could be in this state while the devices' lines have the levels `lines` (bit n:
/// IRQ n).
[[nodiscard]] bool is_valid(const PicState& state, u16 lines);

/// Thread rule: machine's thread.
class Pic final : public PortDevice, public InterruptController, public InterruptSink {
 public:
  /// `output` learns of each change of the INTR line towards the processor.
  explicit Pic(std::function<void(bool)> output) : output_(std::move(output)) {}

  /// Claims 0x20-21, 0xa0-a1 and 0x4d0-4d1.
  void attach(PortMap& ports);

  void set_level(u8 irq, bool asserted) override;
  u8 acknowledge() override;
  u32 in(u16 port, unsigned size) override;
  void out(u16 port, unsigned size, u32 value) override;

  [[nodiscard]] const PicState& state() const { return state_; }
  void restore(const PicState& state);

 private:
  [[nodiscard]] int pending(const PicChipState& chip) const;
  u8 acknowledge_chip(PicChipState& chip);
  void set_input(PicChipState& chip, unsigned input, bool asserted);
  void write_command(PicChipState& chip, u8 value);
  void write_icw1(PicChipState& chip, u8 value);
  void write_ocw2(PicChipState& chip, u8 value);
  void write_data(PicChipState& chip, u8 value);
  u8 read_command(PicChipState& chip);
  void update();

  PicState state_;
  bool output_level_ = false;
  std::function<void(bool)> output_;
};

}  // namespace snowglobe::vm
