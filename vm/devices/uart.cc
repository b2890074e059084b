// vm/devices/uart.cc - registers and interrupts of the 16550A.
#include "vm/devices/uart.h"

#include "base/check.h"

#include <algorithm>

namespace snowglobe::vm {

namespace {

constexpr std::size_t kReceiveLimit = 4096;  // what a host may type ahead
constexpr std::size_t kOutputChunk = 512;

enum InterruptEnable : u8 { kEnableReceive = 1, kEnableTransmit = 2 };
enum InterruptCause : u8 { kNone = 1, kTransmitterEmpty = 2, kReceived = 4 };
enum LineStatus : u8 { kDataReady = 1, kHoldingEmpty = 0x20, kTransmitterIdle = 0x40 };

constexpr u8 kDivisorAccess = 0x80;  // line control: the first two registers are the divisor
constexpr u8 kFifoEnable = 1;
constexpr u8 kFifoClearReceive = 2;
constexpr u8 kInterruptEnableBits = 0x0F;
constexpr u8 kModemControlBits = 0x1F;

u8 interrupt_cause(const UartState& state) {
  if ((state.interrupt_enable & kEnableReceive) != 0 && !state.received.empty()) return kReceived;
  if ((state.interrupt_enable & kEnableTransmit) != 0 && state.transmitter_empty_pending) {
    return kTransmitterEmpty;
  }
  return kNone;
}

}  // namespace

bool is_valid(const UartState& state) {
  return (state.interrupt_enable & ~kInterruptEnableBits) == 0 &&
         (state.modem_control & ~kModemControlBits) == 0 && state.received.size() <= kReceiveLimit;
}

bool asserts_interrupt(const UartState& state) {
  return interrupt_cause(state) != kNone;
}

Uart::Uart(u16 base_port, InterruptLine& line, std::function<void(base::ConstBytes)> output)
    : base_port_(base_port), line_(line), output_(std::move(output)) {}

void Uart::attach(PortMap& ports) {
  const bool claimed = ports.claim(base_port_, 8, 1, this);
  SG_ASSERT(claimed, "ports of the UART are taken");
}

void Uart::restore(const UartState& state) {
  flush();
  state_ = state;
  update();
}

std::size_t Uart::receive(base::ConstBytes data) {
  const std::size_t room = kReceiveLimit - state_.received.size();
  const std::size_t taken = std::min(room, data.size());
  state_.received.insert(state_.received.end(), data.begin(), data.begin() + taken);
  update();
  return taken;
}

void Uart::flush() {
  if (written_.empty()) return;
  if (output_) output_(written_);
  written_.clear();
}

void Uart::update() {
  line_.set(asserts_interrupt(state_));
}

u8 Uart::read_interrupt_identification() {
  const u8 cause = interrupt_cause(state_);
  if (cause == kTransmitterEmpty) {  // reading it is the acknowledgement
    state_.transmitter_empty_pending = false;
    update();
  }
  return static_cast<u8>(cause | ((state_.fifo_control & kFifoEnable) != 0 ? 0xC0 : 0));
}

u8 Uart::read_receiver() {
  if (state_.received.empty()) return 0;
  const u8 value = state_.received.front();
  state_.received.erase(state_.received.begin());
  update();
  return value;
}

/// The other end is always there and ready; in loopback the outputs come back as inputs (probing).
u8 Uart::modem_status() const {
  if (!loopback()) return 0xB0;  // DCD, DSR, CTS
  const u8 control = state_.modem_control;
  return static_cast<u8>((control & 1) << 5 | (control & 2) << 3 | (control & 4) << 4 |
                         (control & 8) << 4);
}

void Uart::write_transmitter(u8 value) {
  if (loopback()) {
    if (state_.received.size() < kReceiveLimit) state_.received.push_back(value);
  } else {
    written_.push_back(value);
    if (value == '\n' || written_.size() >= kOutputChunk) flush();
  }
  state_.transmitter_empty_pending = true;
  update();
}

u32 Uart::in(u16 port, unsigned) {
  const bool divisor = (state_.line_control & kDivisorAccess) != 0;
  switch (port - base_port_) {
    case 0:
      return divisor ? state_.divisor_low : read_receiver();
    case 1:
      return divisor ? state_.divisor_high : state_.interrupt_enable;
    case 2:
      return read_interrupt_identification();
    case 3:
      return state_.line_control;
    case 4:
      return state_.modem_control;
    case 5:
      return kHoldingEmpty | kTransmitterIdle | (state_.received.empty() ? 0u : u32{kDataReady});
    case 6:
      return modem_status();
    default:
      return state_.scratch;
  }
}

void Uart::out(u16 port, unsigned, u32 value) {
  const auto byte = static_cast<u8>(value);
  const bool divisor = (state_.line_control & kDivisorAccess) != 0;
  switch (port - base_port_) {
    case 0:
      if (divisor) {
        state_.divisor_low = byte;
      } else {
        write_transmitter(byte);
      }
      break;
    case 1:
      if (divisor) {
        state_.divisor_high = byte;
      } else {
        // Enabling the transmitter's interrupt while it is empty raises it at once.
        if ((byte & ~state_.interrupt_enable & kEnableTransmit) != 0) {
          state_.transmitter_empty_pending = true;
        }
        state_.interrupt_enable = byte & kInterruptEnableBits;
        update();
      }
      break;
    case 2:
      state_.fifo_control = byte;
      if ((byte & kFifoClearReceive) != 0) {
        state_.received.clear();
        update();
      }
      break;
    case 3:
      state_.line_control = byte;
      break;
    case 4:
      state_.modem_control = byte & kModemControlBits;
      break;
    case 7:
      state_.scratch = byte;
      break;
    default:
      break;  // line and modem status are read-only
  }
}

}  // namespace snowglobe::vm
