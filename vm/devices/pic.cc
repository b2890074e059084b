// vm/devices/pic.cc - priorities, initialisation and end-of-interrupt commands of the 8259A pair.
#include "vm/devices/pic.h"

#include "base/check.h"

#include <bit>

namespace snowglobe::vm {

namespace {

constexpr u8 kCascadeInput = 2;
constexpr u8 kSpuriousInput = 7;

constexpr u8 bit(unsigned number) {
  return static_cast<u8>(1u << number);
}

/// The highest-priority input of `set`, or -1. Priority falls from lowest_priority + 1 upwards,
/// around.
int highest(u8 set, u8 lowest_priority) {
  if (set == 0) return -1;
  const unsigned first = (lowest_priority + 1u) & 7;
  const u8 rotated = std::rotr(set, static_cast<int>(first));
  return static_cast<int>((first + static_cast<unsigned>(std::countr_zero(rotated))) & 7);
}

/// Position of `input` in the order of priority, 0 the highest.
unsigned rank(int input, u8 lowest_priority) {
  return (static_cast<unsigned>(input) - lowest_priority - 1u) & 7;
}

/// Bits of the ELCR that can be set: IRQ 0, 1, 2, 8 and 13 are always edge-triggered.
constexpr std::array<u8, 2> kElcrMask{0xF8, 0xDE};

}  // namespace

void Pic::attach(PortMap& ports) {
  const bool claimed = ports.claim(0x20, 2, 1, this) && ports.claim(0xA0, 2, 1, this) &&
                       ports.claim(0x4D0, 2, 1, this);
  SG_ASSERT(claimed, "ports of the PIC are taken");
}

bool is_valid(const PicState& state, u16 lines) {
  for (unsigned i = 0; i < 2; ++i) {
    const PicChipState& chip = state.chip[i];
    const u8 others = i == 0 ? static_cast<u8>(~bit(kCascadeInput)) : u8{0xFF};
    if (((chip.lines ^ lines >> (8 * i)) & others) != 0) return false;
    if (((chip.requested ^ chip.lines) & chip.level_triggered) != 0) return false;
    if ((chip.level_triggered & ~kElcrMask[i]) != 0 || (chip.vector_base & 7) != 0) return false;
    if (chip.lowest_priority > 7 || chip.next_icw == 1 || chip.next_icw > 4) return false;
  }
  Pic pic([](bool) {});
  pic.restore(state);  // works the cascade's input out anew
  return pic.state() == state;
}

void Pic::restore(const PicState& state) {
  state_ = state;
  update();
}

/// The input that the chip asks its INT output for, or -1: the highest request that is neither
/// masked nor below what is in service (data sheet, "fully nested mode").
int Pic::pending(const PicChipState& chip) const {
  const u8 requests = chip.requested & static_cast<u8>(~chip.masked);
  const int request = highest(requests, chip.lowest_priority);
  if (request < 0) return -1;
  u8 blocking = chip.in_service;
  if (chip.special_mask) blocking &= static_cast<u8>(~chip.masked);
  // In special fully nested mode the slave's input may interrupt itself.
  if (chip.fully_nested && &chip == &state_.chip[0]) {
    blocking &= static_cast<u8>(~bit(kCascadeInput));
  }
  const int serving = highest(blocking, chip.lowest_priority);
  if (serving >= 0 && rank(serving, chip.lowest_priority) <= rank(request, chip.lowest_priority)) {
    return -1;
  }
  return request;
}

void Pic::set_input(PicChipState& chip, unsigned input, bool asserted) {
  const u8 mask = bit(input);
  const bool was = (chip.lines & mask) != 0;
  chip.lines = static_cast<u8>(asserted ? chip.lines | mask : chip.lines & ~mask);
  if ((chip.level_triggered & mask) != 0) {
    chip.requested = static_cast<u8>(asserted ? chip.requested | mask : chip.requested & ~mask);
  } else if (asserted && !was) {
    // An edge stays latched when its line falls again: kinder than the data sheet, which would then
    // give a spurious interrupt.
    chip.requested |= mask;
  }
}

void Pic::set_level(u8 irq, bool asserted) {
  set_input(state_.chip[irq >> 3], irq & 7, asserted);
  update();
}

void Pic::update() {
  // The slave's output is the master's input 2; it follows the level, whatever the master's mode.
  PicChipState& master = state_.chip[0];
  const bool slave = pending(state_.chip[1]) >= 0;
  master.lines = static_cast<u8>(slave ? master.lines | bit(kCascadeInput)
                                       : master.lines & ~bit(kCascadeInput));
  master.requested = static_cast<u8>(slave ? master.requested | bit(kCascadeInput)
                                           : master.requested & ~bit(kCascadeInput));
  const bool level = pending(master) >= 0;
  if (level == output_level_) return;
  output_level_ = level;
  output_(level);
}

/// The INTA cycle of one chip: moves the request into service, returns the input number.
u8 Pic::acknowledge_chip(PicChipState& chip) {
  const int input = pending(chip);
  if (input < 0) return kSpuriousInput;  // nothing left to serve: a spurious interrupt, without ISR
  const auto number = static_cast<u8>(input);
  const u8 mask = bit(number);
  if ((chip.level_triggered & mask) == 0) chip.requested &= static_cast<u8>(~mask);
  if (!chip.auto_eoi) {
    chip.in_service |= mask;
  } else if (chip.rotate_on_auto_eoi) {
    chip.lowest_priority = number;
  }
  return number;
}

u8 Pic::acknowledge() {
  PicChipState& master = state_.chip[0];
  PicChipState& slave = state_.chip[1];
  const bool cascaded = pending(master) == kCascadeInput;
  const u8 input = acknowledge_chip(master);
  const auto vector = static_cast<u8>(cascaded ? slave.vector_base + acknowledge_chip(slave)
                                               : master.vector_base + input);
  update();
  return vector;
}

void Pic::write_icw1(PicChipState& chip, u8 value) {
  PicChipState fresh;
  fresh.lines = chip.lines;
  fresh.level_triggered = chip.level_triggered;
  fresh.requested = chip.lines & chip.level_triggered;  // edges must come anew
  fresh.masked = 0;
  fresh.next_icw = 2;
  fresh.needs_icw4 = (value & 1) != 0;
  chip = fresh;
}

void Pic::write_ocw2(PicChipState& chip, u8 value) {
  const bool rotate = (value & 0x80) != 0;
  const bool specific = (value & 0x40) != 0;
  const bool end = (value & 0x20) != 0;
  if (!end && !specific) {  // rotate in automatic EOI mode: set or clear
    chip.rotate_on_auto_eoi = rotate;
    return;
  }
  u8 serving = chip.in_service;
  if (chip.special_mask) serving &= static_cast<u8>(~chip.masked);
  const int level = specific ? value & 7 : highest(serving, chip.lowest_priority);
  if (level < 0) return;
  if (end) chip.in_service &= static_cast<u8>(~bit(static_cast<unsigned>(level)));
  if (rotate) chip.lowest_priority = static_cast<u8>(level);
}

void Pic::write_command(PicChipState& chip, u8 value) {
  if ((value & 0x10) != 0) return write_icw1(chip, value);
  if ((value & 0x08) == 0) return write_ocw2(chip, value);
  // OCW3
  if ((value & 0x04) != 0) chip.poll = true;
  if ((value & 0x02) != 0) chip.read_in_service = (value & 0x01) != 0;
  if ((value & 0x40) != 0) chip.special_mask = (value & 0x20) != 0;
}

void Pic::write_data(PicChipState& chip, u8 value) {
  switch (chip.next_icw) {
    case 2:
      chip.vector_base = value & 0xF8;
      chip.next_icw = 3;  // the cascade is wired: ICW3 is taken and ignored
      return;
    case 3:
      chip.next_icw = chip.needs_icw4 ? 4 : 0;
      return;
    case 4:
      chip.auto_eoi = (value & 0x02) != 0;
      chip.fully_nested = (value & 0x10) != 0;
      chip.next_icw = 0;
      return;
    default:
      chip.masked = value;
  }
}

u8 Pic::read_command(PicChipState& chip) {
  if (chip.poll) {  // a poll is an INTA cycle by software
    chip.poll = false;
    if (pending(chip) < 0) return 0;
    return static_cast<u8>(0x80 | acknowledge_chip(chip));
  }
  return chip.read_in_service ? chip.in_service : chip.requested;
}

u32 Pic::in(u16 port, unsigned) {
  if ((port & 0xFFFE) == 0x4D0) return state_.chip[port & 1].level_triggered;
  PicChipState& chip = state_.chip[port >= 0xA0 ? 1 : 0];
  if ((port & 1) != 0) return chip.masked;
  const u8 value = read_command(chip);
  update();
  return value;
}

void Pic::out(u16 port, unsigned, u32 value) {
  const auto byte = static_cast<u8>(value);
  if ((port & 0xFFFE) == 0x4D0) {
    PicChipState& chip = state_.chip[port & 1];
    chip.level_triggered = byte & kElcrMask[port & 1];
    chip.requested = static_cast<u8>((chip.requested & ~chip.level_triggered) |
                                     (chip.lines & chip.level_triggered));
  } else {
    PicChipState& chip = state_.chip[port >= 0xA0 ? 1 : 0];
    if ((port & 1) != 0) {
      write_data(chip, byte);
    } else {
      write_command(chip, byte);
    }
  }
  update();
}

}  // namespace snowglobe::vm
