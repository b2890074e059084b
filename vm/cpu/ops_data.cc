// vm/cpu/ops_data.cc - moves, stack, conversions, exchanges, and single flags.
#include "vm/cpu/ops.h"

namespace snowglobe::vm {
namespace {

// --- MOV and kin
// ------------------------------------------------------------------------------------

template <class T>
const Insn* mov_reg_reg(Cpu& cpu, const Insn* insn) {
  write_slot(cpu, insn->reg, read_slot<T>(cpu, insn->rm));
  return next(cpu, insn);
}

template <class T>
const Insn* mov_reg_imm(Cpu& cpu, const Insn* insn) {
  write_slot(cpu, insn->reg, static_cast<T>(insn->imm));
  return next(cpu, insn);
}

template <class T>
const Insn* mov_reg_mem(Cpu& cpu, const Insn* insn) {
  T value;
  if (!cpu.load(insn, value)) return nullptr;
  write_slot(cpu, insn->reg, value);
  return next(cpu, insn);
}

template <class T>
const Insn* mov_mem_reg(Cpu& cpu, const Insn* insn) {
  return cpu.store(insn, read_slot<T>(cpu, insn->reg)) ? next(cpu, insn) : nullptr;
}

template <class T>
const Insn* mov_mem_imm(Cpu& cpu, const Insn* insn) {
  return cpu.store(insn, static_cast<T>(insn->imm)) ? next(cpu, insn) : nullptr;
}

template <class T>
Handler choose_mov(const Decoded& decoded, Insn& insn) {
  if (decoded.is_memory(0)) {
    if (decoded.is_immediate(1)) {
      insn.imm = decoded.immediate(1);
      return mov_mem_imm<T>;
    }
    insn.reg = register_slot(decoded, 1);
    return mov_mem_reg<T>;
  }
  insn.reg = register_slot(decoded, 0);
  if (decoded.is_memory(1)) return mov_reg_mem<T>;
  if (decoded.is_immediate(1)) {
    insn.imm = decoded.immediate(1);
    return mov_reg_imm<T>;
  }
  insn.rm = register_slot(decoded, 1);
  return mov_reg_reg<T>;
}

// True if operand `i` is a general register, memory or an immediate: MOV, PUSH and POP of segment,
// control and debug registers belong to the system family.
bool is_general(const Decoded& decoded, unsigned i) {
  if (!decoded.is_register(i)) return true;
  switch (ZydisRegisterGetClass(decoded.operand(i).reg.value)) {
    case ZYDIS_REGCLASS_GPR8:
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
      return true;
    default:
      return false;
  }
}

bool bind_mov(const Decoded& decoded, Insn& insn) {
  if (!is_general(decoded, 0) || !is_general(decoded, 1)) return false;
  switch (decoded.size(0)) {
    case 1:
      insn.handler = choose_mov<u8>(decoded, insn);
      return true;
    case 2:
      insn.handler = choose_mov<u16>(decoded, insn);
      return true;
    case 4:
      insn.handler = choose_mov<u32>(decoded, insn);
      return true;
    default:
      return false;
  }
}

template <class To, class From, bool kSigned>
const Insn* extend(Cpu& cpu, const Insn* insn) {
  From value;
  if (insn->extra != 0) {
    if (!cpu.load(insn, value)) return nullptr;
  } else {
    value = read_slot<From>(cpu, insn->rm);
  }
  write_slot(cpu, insn->reg, static_cast<To>(kSigned ? sign_extend(value) : u32{value}));
  return next(cpu, insn);
}

template <bool kSigned>
bool bind_extend(const Decoded& decoded, Insn& insn) {
  insn.reg = register_slot(decoded, 0);
  if (decoded.is_memory(1)) {
    insn.extra = 1;
  } else {
    insn.rm = register_slot(decoded, 1);
  }
  const bool dword = decoded.size(0) == 4;
  if (decoded.size(1) == 1) {
    insn.handler = dword ? extend<u32, u8, kSigned> : extend<u16, u8, kSigned>;
  } else {
    insn.handler = dword ? extend<u32, u16, kSigned> : extend<u16, u16, kSigned>;
  }
  return true;
}

const Insn* lea32(Cpu& cpu, const Insn* insn) {
  write_slot(cpu, insn->reg, cpu.effective_address(insn));
  return next(cpu, insn);
}

const Insn* lea16(Cpu& cpu, const Insn* insn) {
  write_slot(cpu, insn->reg, static_cast<u16>(cpu.effective_address(insn)));
  return next(cpu, insn);
}

bool bind_lea(const Decoded& decoded, Insn& insn) {
  insn.reg = register_slot(decoded, 0);
  insn.handler = decoded.size(0) == 4 ? lea32 : lea16;
  return true;
}

// XLAT: AL = [seg:EBX + AL], the address cut to 16 bits with 16-bit addressing.
const Insn* xlat(Cpu& cpu, const Insn* insn) {
  const u32 index = cpu.state.gpr[kEbx] + read_slot<u8>(cpu, 0);
  u8 value;
  if (!cpu.load(insn, insn->segment, insn->extra != 0 ? index & 0xFFFF : index, value)) {
    return nullptr;
  }
  write_slot(cpu, 0, value);
  return next(cpu, insn);
}

bool bind_xlat(const Decoded& decoded, Insn& insn) {
  insn.extra = decoded.info.address_width == 16 ? 1 : 0;
  // The operand is implied, so the decoder has not looked at it; but its segment can be chosen.
  for (unsigned i = 0; i < decoded.info.operand_count; ++i) {
    if (!decoded.is_memory(i)) continue;
    insn.segment = static_cast<u8>(ZydisRegisterGetId(decoded.operand(i).mem.segment));
  }
  insn.handler = xlat;
  return true;
}

// --- conditional: CMOVcc, SETcc
// ---------------------------------------------------------------------

template <Condition kCondition, class T>
const Insn* cmov_reg(Cpu& cpu, const Insn* insn) {
  if (test_condition<kCondition>(cpu.state.flags)) {
    write_slot(cpu, insn->reg, read_slot<T>(cpu, insn->rm));
  }
  return next(cpu, insn);
}

// The operand in memory is read in any case, and may fault (Intel SDM Vol. 2A, CMOVcc).
template <Condition kCondition, class T>
const Insn* cmov_mem(Cpu& cpu, const Insn* insn) {
  T value;
  if (!cpu.load(insn, value)) return nullptr;
  if (test_condition<kCondition>(cpu.state.flags)) write_slot(cpu, insn->reg, value);
  return next(cpu, insn);
}

template <Condition kCondition>
bool bind_cmov(const Decoded& decoded, Insn& insn) {
  insn.reg = register_slot(decoded, 0);
  const bool dword = decoded.size(0) == 4;
  if (decoded.is_memory(1)) {
    insn.handler = dword ? cmov_mem<kCondition, u32> : cmov_mem<kCondition, u16>;
  } else {
    insn.rm = register_slot(decoded, 1);
    insn.handler = dword ? cmov_reg<kCondition, u32> : cmov_reg<kCondition, u16>;
  }
  return true;
}

template <Condition kCondition>
const Insn* set_reg(Cpu& cpu, const Insn* insn) {
  write_slot(cpu, insn->reg, static_cast<u8>(test_condition<kCondition>(cpu.state.flags)));
  return next(cpu, insn);
}

template <Condition kCondition>
const Insn* set_mem(Cpu& cpu, const Insn* insn) {
  const u8 value = test_condition<kCondition>(cpu.state.flags) ? 1 : 0;
  return cpu.store(insn, value) ? next(cpu, insn) : nullptr;
}

template <Condition kCondition>
bool bind_set(const Decoded& decoded, Insn& insn) {
  if (decoded.is_memory(0)) {
    insn.handler = set_mem<kCondition>;
  } else {
    insn.reg = register_slot(decoded, 0);
    insn.handler = set_reg<kCondition>;
  }
  return true;
}

// --- the stack
// --------------------------------------------------------------------------------------

template <class T>
const Insn* push_reg(Cpu& cpu, const Insn* insn) {
  return cpu.push(insn, read_slot<T>(cpu, insn->reg)) ? next(cpu, insn) : nullptr;
}

template <class T>
const Insn* push_imm(Cpu& cpu, const Insn* insn) {
  return cpu.push(insn, static_cast<T>(insn->imm)) ? next(cpu, insn) : nullptr;
}

template <class T>
const Insn* push_mem(Cpu& cpu, const Insn* insn) {
  T value;
  return cpu.load(insn, value) && cpu.push(insn, value) ? next(cpu, insn) : nullptr;
}

bool bind_push(const Decoded& decoded, Insn& insn) {
  if (!is_general(decoded, 0)) return false;
  const bool dword = decoded.info.operand_width == 32;
  if (decoded.is_register(0)) {
    insn.reg = register_slot(decoded, 0);
    insn.handler = dword ? push_reg<u32> : push_reg<u16>;
  } else if (decoded.is_immediate(0)) {
    insn.imm = decoded.immediate(0);
    insn.handler = dword ? push_imm<u32> : push_imm<u16>;
  } else {
    insn.handler = dword ? push_mem<u32> : push_mem<u16>;
  }
  return true;
}

template <class T>
const Insn* pop_reg(Cpu& cpu, const Insn* insn) {
  const u32 esp = cpu.state.gpr[kEsp];
  T value;
  if (!cpu.load(insn, kSs, esp, value)) return nullptr;
  cpu.state.gpr[kEsp] = esp + static_cast<u32>(sizeof(T));
  write_slot(cpu, insn->reg, value);  // after ESP, so that POP ESP keeps the value read
  return next(cpu, insn);
}

// An address that uses ESP uses its value after the pop (Intel SDM Vol. 2B, POP).
template <class T>
const Insn* pop_mem(Cpu& cpu, const Insn* insn) {
  const u32 esp = cpu.state.gpr[kEsp];
  T value;
  if (!cpu.load(insn, kSs, esp, value)) return nullptr;
  cpu.state.gpr[kEsp] = esp + static_cast<u32>(sizeof(T));
  if (!cpu.store(insn, value)) {
    cpu.state.gpr[kEsp] = esp;
    return nullptr;
  }
  return next(cpu, insn);
}

bool bind_pop(const Decoded& decoded, Insn& insn) {
  if (!is_general(decoded, 0)) return false;
  const bool dword = decoded.info.operand_width == 32;
  if (decoded.is_register(0)) {
    insn.reg = register_slot(decoded, 0);
    insn.handler = dword ? pop_reg<u32> : pop_reg<u16>;
  } else {
    insn.handler = dword ? pop_mem<u32> : pop_mem<u16>;
  }
  return true;
}

// PUSHA stores EDI at the lowest address, and ESP as it was before.
template <class T>
const Insn* pusha(Cpu& cpu, const Insn* insn) {
  const u32 esp = cpu.state.gpr[kEsp] - static_cast<u32>(8 * sizeof(T));
  u8 image[8 * sizeof(T)];
  for (u32 i = 0; i < 8; ++i) {
    base::store_le(image + i * sizeof(T), static_cast<T>(cpu.state.gpr[7 - i]));
  }
  if (!cpu.store_bytes(insn, kSs, esp, image)) return nullptr;
  cpu.state.gpr[kEsp] = esp;
  return next(cpu, insn);
}

template <class T>
const Insn* popa(Cpu& cpu, const Insn* insn) {
  const u32 esp = cpu.state.gpr[kEsp];
  u8 image[8 * sizeof(T)];
  if (!cpu.load_bytes(insn, kSs, esp, image)) return nullptr;
  for (u32 i = 0; i < 8; ++i) {
    if (7 - i == kEsp) continue;
    write_slot(cpu, static_cast<u8>((7 - i) * 4), base::load_le<T>(image + i * sizeof(T)));
  }
  cpu.state.gpr[kEsp] = esp + static_cast<u32>(8 * sizeof(T));
  return next(cpu, insn);
}

// ENTER size, level (Intel SDM Vol. 2A, ENTER). Pushes go to memory one by one, as later ones may
// copy what earlier ones wrote; a fault leaves them there, below the stack, for the restart.
template <class T>
const Insn* enter(Cpu& cpu, const Insn* insn) {
  constexpr u32 kSize = sizeof(T);
  const u32 level = insn->extra & 31u;
  const u32 ebp = cpu.state.gpr[kEbp];
  const u32 frame = cpu.state.gpr[kEsp] - kSize;
  u32 esp = frame;
  if (!cpu.store(insn, kSs, esp, static_cast<T>(ebp))) return nullptr;
  for (u32 i = 1; i < level; ++i) {
    T outer;
    if (!cpu.load(insn, kSs, ebp - i * kSize, outer)) return nullptr;
    esp -= kSize;
    if (!cpu.store(insn, kSs, esp, outer)) return nullptr;
  }
  if (level > 0) {
    esp -= kSize;
    if (!cpu.store(insn, kSs, esp, static_cast<T>(frame))) return nullptr;
  }
  const u32 new_esp = esp - insn->imm;
  // The new top of the stack must be writable before the registers change.
  if (!cpu.probe(insn, kSs, new_esp, kSize, true)) return nullptr;
  write_slot<T>(cpu, kEbp * 4, static_cast<T>(frame));
  cpu.state.gpr[kEsp] = new_esp;
  return next(cpu, insn);
}

bool bind_enter(const Decoded& decoded, Insn& insn) {
  insn.imm = decoded.immediate(0) & 0xFFFF;
  insn.extra = static_cast<u8>(decoded.immediate(1));
  insn.handler = decoded.info.operand_width == 32 ? enter<u32> : enter<u16>;
  return true;
}

template <class T>
const Insn* leave(Cpu& cpu, const Insn* insn) {
  const u32 ebp = cpu.state.gpr[kEbp];
  T value;
  if (!cpu.load(insn, kSs, ebp, value)) return nullptr;
  cpu.state.gpr[kEsp] = ebp + static_cast<u32>(sizeof(T));
  write_slot(cpu, kEbp * 4, value);
  return next(cpu, insn);
}

template <Handler kDword, Handler kWord>
bool bind_by_width(const Decoded& decoded, Insn& insn) {
  insn.handler = decoded.info.operand_width == 32 ? kDword : kWord;
  return true;
}

// --- exchanges
// --------------------------------------------------------------------------------------

template <class T>
const Insn* xchg_reg(Cpu& cpu, const Insn* insn) {
  const T first = read_slot<T>(cpu, insn->reg);
  write_slot(cpu, insn->reg, read_slot<T>(cpu, insn->rm));
  write_slot(cpu, insn->rm, first);
  return next(cpu, insn);
}

template <class T>
const Insn* xchg_mem(Cpu& cpu, const Insn* insn) {
  const u32 offset = cpu.effective_address(insn);
  T value;
  if (!cpu.load_for_update(insn, insn->segment, offset, value)) return nullptr;
  cpu.store_back(insn, insn->segment, offset, read_slot<T>(cpu, insn->reg));
  write_slot(cpu, insn->reg, value);
  return next(cpu, insn);
}

// XADD, CMPXCHG and XCHG: one operand is r/m, the other the register in `reg`.
bool bind_exchange(const Decoded& decoded, Insn& insn, Handler const (&in_register)[3],
                   Handler const (&in_memory)[3]) {
  const unsigned memory = decoded.is_memory(1) ? 1 : 0;
  const unsigned size = decoded.size(0);
  insn.reg = register_slot(decoded, 1 - memory);
  if (decoded.is_memory(memory)) {
    insn.handler = pick_by_size(size, in_memory[0], in_memory[1], in_memory[2]);
  } else {
    insn.rm = register_slot(decoded, 0);
    insn.handler = pick_by_size(size, in_register[0], in_register[1], in_register[2]);
  }
  return insn.handler != nullptr;
}

bool bind_xchg(const Decoded& decoded, Insn& insn) {
  return bind_exchange(decoded, insn, {xchg_reg<u8>, xchg_reg<u16>, xchg_reg<u32>},
                       {xchg_mem<u8>, xchg_mem<u16>, xchg_mem<u32>});
}

template <class T>
const Insn* xadd_reg(Cpu& cpu, const Insn* insn) {
  const T destination = read_slot<T>(cpu, insn->rm);
  const T source = read_slot<T>(cpu, insn->reg);
  const T sum = static_cast<T>(destination + source);
  write_slot(cpu, insn->reg, destination);
  write_slot(cpu, insn->rm, sum);  // the last, as both may be the same register
  set_flags_add(cpu, destination, source, sum);
  return next(cpu, insn);
}

template <class T>
const Insn* xadd_mem(Cpu& cpu, const Insn* insn) {
  const u32 offset = cpu.effective_address(insn);
  T destination;
  if (!cpu.load_for_update(insn, insn->segment, offset, destination)) return nullptr;
  const T source = read_slot<T>(cpu, insn->reg);
  const T sum = static_cast<T>(destination + source);
  cpu.store_back(insn, insn->segment, offset, sum);
  write_slot(cpu, insn->reg, destination);
  set_flags_add(cpu, destination, source, sum);
  return next(cpu, insn);
}

bool bind_xadd(const Decoded& decoded, Insn& insn) {
  return bind_exchange(decoded, insn, {xadd_reg<u8>, xadd_reg<u16>, xadd_reg<u32>},
                       {xadd_mem<u8>, xadd_mem<u16>, xadd_mem<u32>});
}

template <class T>
const Insn* cmpxchg_reg(Cpu& cpu, const Insn* insn) {
  const T accumulator = read_slot<T>(cpu, 0);
  const T destination = read_slot<T>(cpu, insn->rm);
  set_flags_sub(cpu, accumulator, destination, static_cast<T>(accumulator - destination));
  if (accumulator == destination) {
    write_slot(cpu, insn->rm, read_slot<T>(cpu, insn->reg));
  } else {
    write_slot(cpu, 0, destination);
  }
  return next(cpu, insn);
}

// The destination is written in any case, with its own value when the comparison fails.
template <class T>
const Insn* cmpxchg_mem(Cpu& cpu, const Insn* insn) {
  const u32 offset = cpu.effective_address(insn);
  T destination;
  if (!cpu.load_for_update(insn, insn->segment, offset, destination)) return nullptr;
  const T accumulator = read_slot<T>(cpu, 0);
  set_flags_sub(cpu, accumulator, destination, static_cast<T>(accumulator - destination));
  if (accumulator == destination) {
    cpu.store_back(insn, insn->segment, offset, read_slot<T>(cpu, insn->reg));
  } else {
    cpu.store_back(insn, insn->segment, offset, destination);
    write_slot(cpu, 0, destination);
  }
  return next(cpu, insn);
}

bool bind_cmpxchg(const Decoded& decoded, Insn& insn) {
  return bind_exchange(decoded, insn, {cmpxchg_reg<u8>, cmpxchg_reg<u16>, cmpxchg_reg<u32>},
                       {cmpxchg_mem<u8>, cmpxchg_mem<u16>, cmpxchg_mem<u32>});
}

const Insn* cmpxchg8b(Cpu& cpu, const Insn* insn) {
  auto& gpr = cpu.state.gpr;
  const u32 offset = cpu.effective_address(insn);
  u64 destination;
  if (!cpu.load_for_update(insn, insn->segment, offset, destination)) return nullptr;
  const bool equal = destination == ((u64{gpr[kEdx]} << 32) | gpr[kEax]);
  const u64 replacement = (u64{gpr[kEcx]} << 32) | gpr[kEbx];
  cpu.store_back(insn, insn->segment, offset, equal ? replacement : destination);
  if (!equal) {
    gpr[kEax] = static_cast<u32>(destination);
    gpr[kEdx] = static_cast<u32>(destination >> 32);
  }
  cpu.state.flags.set_masked(equal ? kFlagZf : 0u, kFlagZf);
  return next(cpu, insn);
}

bool bind_cmpxchg8b(const Decoded&, Insn& insn) {
  insn.handler = cmpxchg8b;
  return true;
}

// BSWAP of a 16-bit register is undefined; processors give zero.
const Insn* bswap32(Cpu& cpu, const Insn* insn) {
  write_slot(cpu, insn->reg, base::byte_swap(read_slot<u32>(cpu, insn->reg)));
  return next(cpu, insn);
}

const Insn* bswap16(Cpu& cpu, const Insn* insn) {
  write_slot<u16>(cpu, insn->reg, 0);
  return next(cpu, insn);
}

bool bind_bswap(const Decoded& decoded, Insn& insn) {
  insn.reg = register_slot(decoded, 0);
  insn.handler = decoded.size(0) == 4 ? bswap32 : bswap16;
  return true;
}

// --- conversions in the accumulator
// -----------------------------------------------------------------

const Insn* cbw(Cpu& cpu, const Insn* insn) {
  write_slot(cpu, 0, static_cast<u16>(sign_extend(read_slot<u8>(cpu, 0))));
  return next(cpu, insn);
}

const Insn* cwde(Cpu& cpu, const Insn* insn) {
  write_slot(cpu, 0, sign_extend(read_slot<u16>(cpu, 0)));
  return next(cpu, insn);
}

const Insn* cwd(Cpu& cpu, const Insn* insn) {
  write_slot(cpu, kEdx * 4, static_cast<u16>((read_slot<u16>(cpu, 0) & 0x8000) != 0 ? 0xFFFF : 0));
  return next(cpu, insn);
}

const Insn* cdq(Cpu& cpu, const Insn* insn) {
  cpu.state.gpr[kEdx] = static_cast<u32>(static_cast<i32>(cpu.state.gpr[kEax]) >> 31);
  return next(cpu, insn);
}

// --- single flags
// -----------------------------------------------------------------------------------

const Insn* clc(Cpu& cpu, const Insn* insn) {
  cpu.state.flags.set_cf(false);
  return next(cpu, insn);
}

const Insn* stc(Cpu& cpu, const Insn* insn) {
  cpu.state.flags.set_cf(true);
  return next(cpu, insn);
}

const Insn* cmc(Cpu& cpu, const Insn* insn) {
  cpu.state.flags.set_cf(!cpu.state.flags.cf());
  return next(cpu, insn);
}

const Insn* cld(Cpu& cpu, const Insn* insn) {
  cpu.state.eflags &= ~kFlagDf;
  return next(cpu, insn);
}

const Insn* std_(Cpu& cpu, const Insn* insn) {
  cpu.state.eflags |= kFlagDf;
  return next(cpu, insn);
}

const Insn* lahf(Cpu& cpu, const Insn* insn) {
  write_slot(cpu, 1, static_cast<u8>(cpu.state.flags.get() | kFlagReserved1));
  return next(cpu, insn);
}

const Insn* sahf(Cpu& cpu, const Insn* insn) {
  constexpr u32 kMask = kFlagCf | kFlagPf | kFlagAf | kFlagZf | kFlagSf;
  cpu.state.flags.set_masked(read_slot<u8>(cpu, 1), kMask);
  return next(cpu, insn);
}

// SALC, undocumented but on every processor: AL = CF ? FF : 0.
const Insn* salc(Cpu& cpu, const Insn* insn) {
  write_slot(cpu, 0, static_cast<u8>(cpu.state.flags.cf() ? 0xFF : 0));
  return next(cpu, insn);
}

const Insn* nop(Cpu& cpu, const Insn* insn) {
  return next(cpu, insn);
}

template <Handler kHandler>
bool bind_plain(const Decoded&, Insn& insn) {
  insn.handler = kHandler;
  return true;
}

// 0F 0D is PREFETCHW's opcode, which came with 3DNow!; with a register operand it is a NOP only
// there.
bool bind_nop(const Decoded& decoded, Insn& insn) {
  if (decoded.info.opcode_map == ZYDIS_OPCODE_MAP_0F && decoded.info.opcode == 0x0D) return false;
  insn.handler = nop;
  return true;
}

constexpr Binding kBindings[] = {
    {ZYDIS_MNEMONIC_MOV, bind_mov},
    {ZYDIS_MNEMONIC_MOVZX, bind_extend<false>},
    {ZYDIS_MNEMONIC_MOVSX, bind_extend<true>},
    {ZYDIS_MNEMONIC_LEA, bind_lea},
    {ZYDIS_MNEMONIC_XLAT, bind_xlat},
    {ZYDIS_MNEMONIC_CMOVO, bind_cmov<Condition::kO>},
    {ZYDIS_MNEMONIC_CMOVNO, bind_cmov<Condition::kNo>},
    {ZYDIS_MNEMONIC_CMOVB, bind_cmov<Condition::kB>},
    {ZYDIS_MNEMONIC_CMOVNB, bind_cmov<Condition::kNb>},
    {ZYDIS_MNEMONIC_CMOVZ, bind_cmov<Condition::kZ>},
    {ZYDIS_MNEMONIC_CMOVNZ, bind_cmov<Condition::kNz>},
    {ZYDIS_MNEMONIC_CMOVBE, bind_cmov<Condition::kBe>},
    {ZYDIS_MNEMONIC_CMOVNBE, bind_cmov<Condition::kNbe>},
    {ZYDIS_MNEMONIC_CMOVS, bind_cmov<Condition::kS>},
    {ZYDIS_MNEMONIC_CMOVNS, bind_cmov<Condition::kNs>},
    {ZYDIS_MNEMONIC_CMOVP, bind_cmov<Condition::kP>},
    {ZYDIS_MNEMONIC_CMOVNP, bind_cmov<Condition::kNp>},
    {ZYDIS_MNEMONIC_CMOVL, bind_cmov<Condition::kL>},
    {ZYDIS_MNEMONIC_CMOVNL, bind_cmov<Condition::kNl>},
    {ZYDIS_MNEMONIC_CMOVLE, bind_cmov<Condition::kLe>},
    {ZYDIS_MNEMONIC_CMOVNLE, bind_cmov<Condition::kNle>},
    {ZYDIS_MNEMONIC_SETO, bind_set<Condition::kO>},
    {ZYDIS_MNEMONIC_SETNO, bind_set<Condition::kNo>},
    {ZYDIS_MNEMONIC_SETB, bind_set<Condition::kB>},
    {ZYDIS_MNEMONIC_SETNB, bind_set<Condition::kNb>},
    {ZYDIS_MNEMONIC_SETZ, bind_set<Condition::kZ>},
    {ZYDIS_MNEMONIC_SETNZ, bind_set<Condition::kNz>},
    {ZYDIS_MNEMONIC_SETBE, bind_set<Condition::kBe>},
    {ZYDIS_MNEMONIC_SETNBE, bind_set<Condition::kNbe>},
    {ZYDIS_MNEMONIC_SETS, bind_set<Condition::kS>},
    {ZYDIS_MNEMONIC_SETNS, bind_set<Condition::kNs>},
    {ZYDIS_MNEMONIC_SETP, bind_set<Condition::kP>},
    {ZYDIS_MNEMONIC_SETNP, bind_set<Condition::kNp>},
    {ZYDIS_MNEMONIC_SETL, bind_set<Condition::kL>},
    {ZYDIS_MNEMONIC_SETNL, bind_set<Condition::kNl>},
    {ZYDIS_MNEMONIC_SETLE, bind_set<Condition::kLe>},
    {ZYDIS_MNEMONIC_SETNLE, bind_set<Condition::kNle>},
    {ZYDIS_MNEMONIC_PUSH, bind_push},
    {ZYDIS_MNEMONIC_POP, bind_pop},
    {ZYDIS_MNEMONIC_PUSHAD, bind_plain<pusha<u32>>},
    {ZYDIS_MNEMONIC_PUSHA, bind_plain<pusha<u16>>},
    {ZYDIS_MNEMONIC_POPAD, bind_plain<popa<u32>>},
    {ZYDIS_MNEMONIC_POPA, bind_plain<popa<u16>>},
    {ZYDIS_MNEMONIC_ENTER, bind_enter},
    {ZYDIS_MNEMONIC_LEAVE, bind_by_width<leave<u32>, leave<u16>>},
    {ZYDIS_MNEMONIC_XCHG, bind_xchg},
    {ZYDIS_MNEMONIC_XADD, bind_xadd},
    {ZYDIS_MNEMONIC_CMPXCHG, bind_cmpxchg},
    {ZYDIS_MNEMONIC_CMPXCHG8B, bind_cmpxchg8b},
    {ZYDIS_MNEMONIC_BSWAP, bind_bswap},
    {ZYDIS_MNEMONIC_CBW, bind_plain<cbw>},
    {ZYDIS_MNEMONIC_CWDE, bind_plain<cwde>},
    {ZYDIS_MNEMONIC_CWD, bind_plain<cwd>},
    {ZYDIS_MNEMONIC_CDQ, bind_plain<cdq>},
    {ZYDIS_MNEMONIC_CLC, bind_plain<clc>},
    {ZYDIS_MNEMONIC_STC, bind_plain<stc>},
    {ZYDIS_MNEMONIC_CMC, bind_plain<cmc>},
    {ZYDIS_MNEMONIC_CLD, bind_plain<cld>},
    {ZYDIS_MNEMONIC_STD, bind_plain<std_>},
    {ZYDIS_MNEMONIC_LAHF, bind_plain<lahf>},
    {ZYDIS_MNEMONIC_SAHF, bind_plain<sahf>},
    {ZYDIS_MNEMONIC_SALC, bind_plain<salc>},
    {ZYDIS_MNEMONIC_NOP, bind_nop},
    {ZYDIS_MNEMONIC_PAUSE, bind_plain<nop>},
};

}  // namespace

std::span<const Binding> data_bindings() {
  return kBindings;
}

}  // namespace snowglobe::vm
