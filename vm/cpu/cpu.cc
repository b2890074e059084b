// vm/cpu/cpu.cc - the processor's life, its exceptions, and the slow ways into memory: what the
// inline load and store of cpu.h could not answer from the TLB.
#include "vm/cpu/cpu.h"

#include "vm/cpu/cpuid.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

namespace snowglobe::vm {

Cpu::Cpu(GuestRam& ram, PortBus& ports, InterruptController& interrupts, TscSource& tsc)
    : ram_(ram),
      ports_(ports),
      interrupts_(interrupts),
      tsc_(tsc),
      read_tlb_(&always_empty_),
      write_tlb_(&always_empty_) {
  ram_.set_observer(this);
  reset();
}

Cpu::~Cpu() {
  ram_.set_observer(nullptr);
}

// Intel SDM Vol. 3A, table 9-1.
void Cpu::reset() {
  state = CpuState{};
  state.cr0 = kCr0Cd | kCr0Nw | kCr0Et;
  state.eip = 0xFFF0;
  state.gpr[kEdx] = kCpuSignature;
  constexpr u16 kRealModeData = kSegPresent | kSegNotSystem | kSegWritable | kSegAccessed;
  for (Segment& segment : state.segment) {
    segment = {.selector = 0, .attributes = kRealModeData, .base = 0, .limit = 0xFFFF};
  }
  state.segment[kCs].selector = 0xF000;
  state.segment[kCs].attributes |= kSegCode;
  state.segment[kCs].base = 0xFFFF0000;
  state.idtr.limit = state.gdtr.limit = 0xFFFF;
  exception_.reset();
  state_replaced();
}

void Cpu::state_replaced() {
  flush_tlb();
  mode_changed();
  for (u8 segment = kEs; segment <= kGs; ++segment)
    segment_changed(segment);
}

// --- exceptions
// --------------------------------------------------------------------------------------

const Insn* Cpu::raise(const Insn* insn, Vector vector) {
  state.eip = eip_of(insn);
  raise_system(vector);
  return nullptr;
}

const Insn* Cpu::raise(const Insn* insn, Vector vector, u32 error_code) {
  state.eip = eip_of(insn);
  raise_system(vector, error_code);
  return nullptr;
}

bool Cpu::raise_system(Vector vector, u32 error_code) {
  exception_ = Exception{vector, true, error_code, 0};
  data_breakpoints_hit_ = 0;
  return false;
}

bool Cpu::raise_system(Vector vector) {
  exception_ = Exception{vector, false, 0, 0};
  data_breakpoints_hit_ = 0;
  return false;
}

// --- rights of the owner of RAM
// -----------------------------------------------------------------------

// Mappings are not listed by physical page: dropping all writable ones is rare and costs little.
void Cpu::on_write_right_lost(u32 page) {
  tlb_[0][1].flush();
  tlb_[1][1].flush();
  for (CpuObserver* observer : observers_)
    if (observer != nullptr) observer->on_write_right_lost(page);
}

void Cpu::on_code_written(u32 page) {
  for (CpuObserver* observer : observers_)
    if (observer != nullptr) observer->on_code_written(page);
}

// The TLBs hold the old places. Page tables say what they said: no generation ends.
void Cpu::forget_host_pages() {
  for (auto& of_mode : tlb_) {
    for (Tlb& tlb : of_mode)
      tlb.flush();
  }
}

void Cpu::on_page_moved(u32 page) {
  forget_host_pages();
  for (CpuObserver* observer : observers_)
    if (observer != nullptr) observer->on_page_moved(page);
}

void Cpu::on_all_moved() {
  forget_host_pages();
  for (CpuObserver* observer : observers_)
    if (observer != nullptr) observer->on_all_moved();
}

void Cpu::add_observer(CpuObserver* observer) {
  const auto free = std::ranges::find(observers_, nullptr);
  SG_ASSERT(free != observers_.end(), "too many observers");
  *free = observer;
}

void Cpu::remove_observer(const CpuObserver* observer) {
  std::ranges::replace(observers_, const_cast<CpuObserver*>(observer), nullptr);
}

// --- memory
// -------------------------------------------------------------------------------------------

bool Cpu::check_access(const Insn* insn, u8 segment, u32 offset, u32 size, bool write) {
  if ((checked_segments_ >> segment & 1) != 0 &&
      !check_segment(insn, segment, offset, size, write)) {
    return false;
  }
  const LinearAddress linear = offset + state.segment[segment].base;
  if (check_alignment_ && !check_alignment(insn, linear, size)) [[unlikely]]
    return false;
  if (watch_data_) [[unlikely]]
    note_data_breakpoints(linear, size, write);
  return true;
}

// Intel SDM Vol. 3A, table 6-7. Blocks and 128-bit operands have rules of their own, which their
// instructions check; 80-bit values are aligned like 64-bit ones.
bool Cpu::check_alignment(const Insn* insn, LinearAddress linear, u32 size) {
  const u32 alignment = size == 10 ? 8 : size;
  if (alignment > 8 || !std::has_single_bit(alignment)) return true;
  if ((linear & (alignment - 1)) == 0) return true;
  raise(insn, Vector::kAlignmentCheck, 0);
  return false;
}

template <class T>
bool Cpu::load_slow(const Insn* insn, u8 segment, u32 offset, T& value) {
  if (!check_access(insn, segment, offset, sizeof(T), false)) return false;
  const LinearAddress linear = offset + state.segment[segment].base;
  if ((linear & kPageMask) <= kPageSize - sizeof(T)) [[likely]] {
    u8* host;
    if (!resolve(linear, false, user_mode(), host)) {
      state.eip = eip_of(insn);
      return false;
    }
    value = host != nullptr ? base::load_le<T>(host) : std::numeric_limits<T>::max();
    return true;
  }
  std::array<u8, sizeof(T)> bytes;
  if (!copy_linear(linear, bytes.data(), sizeof(T), false, user_mode())) {
    state.eip = eip_of(insn);
    return false;
  }
  value = base::load_le<T>(bytes.data());
  return true;
}

template <class T>
bool Cpu::store_slow(const Insn* insn, u8 segment, u32 offset, T value) {
  if (!check_access(insn, segment, offset, sizeof(T), true)) return false;
  const LinearAddress linear = offset + state.segment[segment].base;
  if ((linear & kPageMask) <= kPageSize - sizeof(T)) [[likely]] {
    u8* host;
    if (!resolve(linear, true, user_mode(), host)) {
      state.eip = eip_of(insn);
      return false;
    }
    if (host != nullptr) base::store_le(host, value);
    return true;
  }
  std::array<u8, sizeof(T)> bytes;
  base::store_le(bytes.data(), value);
  if (!copy_linear(linear, bytes.data(), sizeof(T), true, user_mode())) {
    state.eip = eip_of(insn);
    return false;
  }
  return true;
}

bool Cpu::probe(const Insn* insn, u8 segment, u32 offset, u32 size, bool write) {
  if (size == 0) return true;
  if (!check_access(insn, segment, offset, size, write)) return false;
  const LinearAddress first = offset + state.segment[segment].base;
  LinearAddress page = first;
  u32 left = size;
  while (true) {
    u8* host;
    if (!resolve(page, write, user_mode(), host)) {
      state.eip = eip_of(insn);
      return false;
    }
    const u32 in_page = kPageSize - (page & kPageMask);
    if (left <= in_page) return true;
    left -= in_page;
    page += in_page;
  }
}

bool Cpu::load_bytes(const Insn* insn, u8 segment, u32 offset, base::Bytes out) {
  const u32 size = static_cast<u32>(out.size());
  if (!check_access(insn, segment, offset, size, false)) return false;
  const LinearAddress linear = offset + state.segment[segment].base;
  if (copy_linear(linear, out.data(), size, false, user_mode())) return true;
  state.eip = eip_of(insn);
  return false;
}

bool Cpu::store_bytes(const Insn* insn, u8 segment, u32 offset, base::ConstBytes from) {
  const u32 size = static_cast<u32>(from.size());
  if (!check_access(insn, segment, offset, size, true)) return false;
  const LinearAddress linear = offset + state.segment[segment].base;
  // copy_linear() only reads through the pointer when it writes guest memory.
  if (copy_linear(linear, const_cast<u8*>(from.data()), size, true, user_mode())) return true;
  state.eip = eip_of(insn);
  return false;
}

bool Cpu::copy_linear(LinearAddress linear, u8* bytes, u32 size, bool write, bool user) {
  SG_DCHECK(size <= kPageSize, "copy_linear() does at most two pages");
  const u32 first_size = std::min(size, kPageSize - (linear & kPageMask));
  const u32 second_size = size - first_size;
  u8* first;
  u8* second = nullptr;
  if (!resolve(linear, write, user, first)) return false;
  if (second_size != 0 && !resolve(linear + first_size, write, user, second)) return false;
  const auto copy = [write](u8* host, u8* part, u32 count) {
    if (write) {
      if (host != nullptr) std::copy_n(part, count, host);
    } else if (host != nullptr) {
      std::copy_n(host, count, part);
    } else {
      std::fill_n(part, count, u8{0xFF});  // nothing answers on the bus
    }
  };
  copy(first, bytes, first_size);
  copy(second, bytes + first_size, second_size);
  return true;
}

template <class T>
bool Cpu::load_system(LinearAddress linear, T& value) {
  if ((linear & kPageMask) <= kPageSize - sizeof(T)) [[likely]] {
    u8* host;
    if (!resolve(linear, false, false, host)) return false;
    value = host != nullptr ? base::load_le<T>(host) : std::numeric_limits<T>::max();
    return true;
  }
  std::array<u8, sizeof(T)> bytes;
  if (!copy_linear(linear, bytes.data(), sizeof(T), false, false)) return false;
  value = base::load_le<T>(bytes.data());
  return true;
}

template <class T>
bool Cpu::store_system(LinearAddress linear, T value) {
  std::array<u8, sizeof(T)> bytes;
  base::store_le(bytes.data(), value);
  return copy_linear(linear, bytes.data(), sizeof(T), true, false);
}

template bool Cpu::load_slow(const Insn*, u8, u32, u8&);
template bool Cpu::load_slow(const Insn*, u8, u32, u16&);
template bool Cpu::load_slow(const Insn*, u8, u32, u32&);
template bool Cpu::load_slow(const Insn*, u8, u32, u64&);
template bool Cpu::store_slow(const Insn*, u8, u32, u8);
template bool Cpu::store_slow(const Insn*, u8, u32, u16);
template bool Cpu::store_slow(const Insn*, u8, u32, u32);
template bool Cpu::store_slow(const Insn*, u8, u32, u64);
template bool Cpu::load_system(LinearAddress, u8&);
template bool Cpu::load_system(LinearAddress, u16&);
template bool Cpu::load_system(LinearAddress, u32&);
template bool Cpu::load_system(LinearAddress, u64&);
template bool Cpu::store_system(LinearAddress, u8);
template bool Cpu::store_system(LinearAddress, u16);
template bool Cpu::store_system(LinearAddress, u32);
template bool Cpu::store_system(LinearAddress, u64);

}  // namespace snowglobe::vm
