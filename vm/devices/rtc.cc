// vm/devices/rtc.cc - registers of the MC146818 (Motorola data sheet, "Address map").
#include "vm/devices/rtc.h"

#include "base/check.h"

#include <chrono>

namespace snowglobe::vm {

namespace {

enum Register : u8 {
  kSeconds = 0x00,
  kMinutes = 0x02,
  kHours = 0x04,
  kDayOfWeek = 0x06,
  kDayOfMonth = 0x07,
  kMonth = 0x08,
  kYear = 0x09,
  kA = 0x0A,
  kB = 0x0B,
  kC = 0x0C,
  kD = 0x0D,
  kCentury = 0x32,
};

constexpr u8 kAValue = 0x26;  // 32.768 kHz time base; bit 7, update in progress, clear
constexpr u8 kBValue = 0x02;  // 24 hours, BCD
constexpr u8 kDValue = 0x80;  // the battery is good

constexpr u8 bcd(unsigned value) {
  return static_cast<u8>(value / 10 % 10 << 4 | value % 10);
}

}  // namespace

Rtc::Rtc(const base::Clock& clock) : clock_(clock) {}

void Rtc::attach(PortMap& ports) {
  const bool claimed = ports.claim(0x70, 2, 1, this);
  SG_ASSERT(claimed, "ports of the RTC are taken");
}

u8 Rtc::read(u8 index) const {
  namespace chrono = std::chrono;
  const chrono::sys_time<base::Nanoseconds> now{clock_.wall()};
  const auto day = chrono::floor<chrono::days>(now);
  const chrono::year_month_day date{day};
  const chrono::hh_mm_ss time{chrono::floor<chrono::seconds>(now - day)};
  const auto year = static_cast<unsigned>(static_cast<int>(date.year()));
  switch (index) {
    case kSeconds:
      return bcd(static_cast<unsigned>(time.seconds().count()));
    case kMinutes:
      return bcd(static_cast<unsigned>(time.minutes().count()));
    case kHours:
      return bcd(static_cast<unsigned>(time.hours().count()));
    case kDayOfWeek:
      return static_cast<u8>(chrono::weekday{day}.c_encoding() + 1);  // Sunday is 1
    case kDayOfMonth:
      return bcd(static_cast<unsigned>(date.day()));
    case kMonth:
      return bcd(static_cast<unsigned>(date.month()));
    case kYear:
      return bcd(year % 100);
    case kCentury:
      return bcd(year / 100);
    case kA:
      return kAValue;
    case kB:
      return kBValue;
    case kC:
      return 0;
    case kD:
      return kDValue;
    default:
      return state_.memory[index];
  }
}

u32 Rtc::in(u16 port, unsigned) {
  return port == 0x70 ? 0xFF : read(state_.index & 0x7F);
}

void Rtc::out(u16 port, unsigned, u32 value) {
  if (port == 0x70) {
    state_.index = static_cast<u8>(value & 0x7F);  // bit 7 masks the NMI, which we do not have
  } else {
    state_.memory[state_.index & 0x7F] = static_cast<u8>(value);
  }
}

}  // namespace snowglobe::vm
