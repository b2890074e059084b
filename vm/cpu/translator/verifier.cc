// vm/cpu/translator/verifier.cc - one pass over the instructions that finds where they begin, one
// that judges each, with what is known of the scratch registers before it.
#include "vm/cpu/translator/verifier.h"

#include "vm/cpu/state.h"
#include "vm/cpu/translator/context.h"

#include <Zydis/Zydis.h>
#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

namespace snowglobe::vm {
namespace {

struct Step {
  u64 address = 0;
  ZydisDecodedInstruction info;
  std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operands;

  [[nodiscard]] bool is(ZydisMnemonic mnemonic) const { return info.mnemonic == mnemonic; }
  [[nodiscard]] u64 next() const { return address + info.length; }
  [[nodiscard]] bool is_register(unsigned i, ZydisRegister reg) const {
    return operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER && operands[i].reg.value == reg;
  }
};

/// What is known of the scratch registers and string pointers: the glue needs it.
struct Known {
  bool r8_window = false;  ///< R8 is the base of the window in force
  bool r8_linear = true;   ///< R8 has no bits above 31
  bool r9_window = false;  ///< R9 is the base of the user window
  bool r9_index = false;   ///< R9 is below 65536
  bool rsi_host = false;   ///< RSI, RDI: an address in the window in force
  bool rdi_host = false;
};

// --- tables
// ---------------------------------------------------------------------------------------

/// Integer instructions that may run with guest operands.
constexpr ZydisMnemonic kIntegers[] = {
    ZYDIS_MNEMONIC_ADD,     ZYDIS_MNEMONIC_ADC,       ZYDIS_MNEMONIC_SUB,    ZYDIS_MNEMONIC_SBB,
    ZYDIS_MNEMONIC_AND,     ZYDIS_MNEMONIC_OR,        ZYDIS_MNEMONIC_XOR,    ZYDIS_MNEMONIC_CMP,
    ZYDIS_MNEMONIC_TEST,    ZYDIS_MNEMONIC_NOT,       ZYDIS_MNEMONIC_NEG,    ZYDIS_MNEMONIC_INC,
    ZYDIS_MNEMONIC_DEC,     ZYDIS_MNEMONIC_MUL,       ZYDIS_MNEMONIC_IMUL,   ZYDIS_MNEMONIC_DIV,
    ZYDIS_MNEMONIC_IDIV,    ZYDIS_MNEMONIC_MOV,       ZYDIS_MNEMONIC_MOVZX,  ZYDIS_MNEMONIC_MOVSX,
    ZYDIS_MNEMONIC_SHL,     ZYDIS_MNEMONIC_SHR,       ZYDIS_MNEMONIC_SAR,    ZYDIS_MNEMONIC_ROL,
    ZYDIS_MNEMONIC_ROR,     ZYDIS_MNEMONIC_RCL,       ZYDIS_MNEMONIC_RCR,    ZYDIS_MNEMONIC_SHLD,
    ZYDIS_MNEMONIC_SHRD,    ZYDIS_MNEMONIC_BT,        ZYDIS_MNEMONIC_BTS,    ZYDIS_MNEMONIC_BTR,
    ZYDIS_MNEMONIC_BTC,     ZYDIS_MNEMONIC_BSF,       ZYDIS_MNEMONIC_BSR,    ZYDIS_MNEMONIC_BSWAP,
    ZYDIS_MNEMONIC_CBW,     ZYDIS_MNEMONIC_CWDE,      ZYDIS_MNEMONIC_CWD,    ZYDIS_MNEMONIC_CDQ,
    ZYDIS_MNEMONIC_CMPXCHG, ZYDIS_MNEMONIC_CMPXCHG8B, ZYDIS_MNEMONIC_XADD,   ZYDIS_MNEMONIC_XCHG,
    ZYDIS_MNEMONIC_CLC,     ZYDIS_MNEMONIC_STC,       ZYDIS_MNEMONIC_CMC,    ZYDIS_MNEMONIC_LAHF,
    ZYDIS_MNEMONIC_SAHF,    ZYDIS_MNEMONIC_XLAT,      ZYDIS_MNEMONIC_MOVNTI, ZYDIS_MNEMONIC_LEA,
    ZYDIS_MNEMONIC_NOP,
};

/// Of the x87 unit, though Zydis counts them among the integer instructions of their time.
constexpr ZydisMnemonic kComparisons[] = {ZYDIS_MNEMONIC_FCOMI, ZYDIS_MNEMONIC_FCOMIP,
                                          ZYDIS_MNEMONIC_FUCOMI, ZYDIS_MNEMONIC_FUCOMIP};

/// The vector unit's state as a whole, and stores that no ModRM byte names.
constexpr ZydisMnemonic kRefusedVectors[] = {
    ZYDIS_MNEMONIC_FXSAVE,    ZYDIS_MNEMONIC_FXSAVE64,   ZYDIS_MNEMONIC_FXRSTOR,
    ZYDIS_MNEMONIC_FXRSTOR64, ZYDIS_MNEMONIC_FNSAVE,     ZYDIS_MNEMONIC_FRSTOR,
    ZYDIS_MNEMONIC_FNSTENV,   ZYDIS_MNEMONIC_FLDENV,     ZYDIS_MNEMONIC_LDMXCSR,
    ZYDIS_MNEMONIC_MASKMOVQ,  ZYDIS_MNEMONIC_MASKMOVDQU,
};

/// Places around CpuState that code may touch: distance from R15, bytes, and if it may write.
struct StatePlace {
  i64 at;
  unsigned size;
  bool writable;
};
constexpr i64 in_context(std::size_t field) {
  return static_cast<i64>(field) - static_cast<i64>(sizeof(TranslatorContext));
}
constexpr i64 in_segment(unsigned segment, std::size_t field) {
  return static_cast<i64>(offsetof(CpuState, segment) + segment * sizeof(Segment) + field);
}
constexpr i64 kWindowPlace = in_context(offsetof(TranslatorContext, window));
constexpr i64 kUserWindowPlace = in_context(offsetof(TranslatorContext, user_window));
constexpr i64 kCounterPlace = in_context(offsetof(TranslatorContext, instructions_ahead));
constexpr StatePlace kPlaces[] = {
    {in_context(offsetof(TranslatorContext, attention)), 1, false},
    {in_context(offsetof(TranslatorContext, interrupt_line)), 1, false},
    {in_context(offsetof(TranslatorContext, vectors_live)), 1, false},
    {kWindowPlace, 8, false},
    {kUserWindowPlace, 8, false},
    {kCounterPlace, 8, true},
    {static_cast<i64>(offsetof(CpuState, eflags)), 4, true},
    {static_cast<i64>(offsetof(CpuState, eflags)) + 1, 1, true},
    {in_segment(kGs, offsetof(Segment, base)), 4, false},
    {in_segment(kEs, offsetof(Segment, selector)), 2, false},
    {in_segment(kCs, offsetof(Segment, selector)), 2, false},
    {in_segment(kSs, offsetof(Segment, selector)), 2, false},
    {in_segment(kDs, offsetof(Segment, selector)), 2, false},
    {in_segment(kFs, offsetof(Segment, selector)), 2, false},
    {in_segment(kGs, offsetof(Segment, selector)), 2, false},
};

template <class T, std::size_t kSize>
bool has(const T (&list)[kSize], T value) {
  return std::find(std::begin(list), std::end(list), value) != std::end(list);
}

ZydisRegister full(ZydisRegister reg) {
  return ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
}
bool is_general(ZydisRegister reg) {
  const ZydisRegisterClass kind = ZydisRegisterGetClass(reg);
  return kind == ZYDIS_REGCLASS_GPR8 || kind == ZYDIS_REGCLASS_GPR16 ||
         kind == ZYDIS_REGCLASS_GPR32 || kind == ZYDIS_REGCLASS_GPR64;
}
bool is_host_register(ZydisRegister reg) {
  switch (full(reg)) {
    case ZYDIS_REGISTER_RSP:
    case ZYDIS_REGISTER_R13:
    case ZYDIS_REGISTER_R14:
    case ZYDIS_REGISTER_R15:
      return true;
    default:
      return false;
  }
}

// --- the judge
// ------------------------------------------------------------------------------------

class Verifier {
 public:
  explicit Verifier(const VerifierContext& context) : context_(context) {
    ZydisDecoderInit(&decoder_, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  }

  std::optional<VerifierComplaint> run(std::span<const VerifierPiece> pieces) {
    for (const VerifierPiece& piece : pieces) {
      if (!decode(piece)) return complaint_;
    }
    for (const Step& step : steps_)
      starts_.push_back(step.address);
    std::ranges::sort(starts_);
    for (const Step& step : steps_)
      note_target(step);
    for (const u64 entry : context_.entries) {
      if (!std::ranges::binary_search(starts_, entry) || splits_a_pair(entry))
        return VerifierComplaint{entry, "an entry that is no instruction"};
      targets_.push_back(entry);
    }
    std::ranges::sort(targets_);
    for (std::size_t i = 0; i < steps_.size(); ++i) {
      const Step* previous =
          i > 0 && steps_[i - 1].next() == steps_[i].address ? &steps_[i - 1] : nullptr;
      if (previous == nullptr || is_target(steps_[i].address)) known_ = unknown();
      if (!judge(steps_[i], i + 1 < steps_.size() ? &steps_[i + 1] : nullptr, previous))
        return complaint_;
    }
    return std::nullopt;
  }

 private:
  static Known unknown() {
    Known known;
    known.r8_linear = false;
    return known;
  }
  bool refuse(u64 address, std::string reason) {
    complaint_ = VerifierComplaint{address, std::move(reason)};
    return false;
  }

  bool decode(const VerifierPiece& piece) {
    for (std::size_t at = 0; at < piece.bytes.size();) {
      Step step;
      step.address = piece.address + at;
      if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder_, piece.bytes.data() + at,
                                               piece.bytes.size() - at, &step.info,
                                               step.operands.data()))) {
        return refuse(step.address, "no instruction");
      }
      at += step.info.length;
      steps_.push_back(step);
    }
    // Code must not run out at the end of a piece.
    if (!piece.bytes.empty() && !never_goes_on(steps_.back()))
      return refuse(steps_.back().address, "the end can be run over");
    return true;
  }
  static bool never_goes_on(const Step& step) {
    return step.is(ZYDIS_MNEMONIC_JMP) || step.is(ZYDIS_MNEMONIC_RET);
  }

  static bool is_relative(const Step& step) {
    return step.operands[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
           step.operands[0].imm.is_relative != 0;
  }
  static u64 target_of(const Step& step) { return step.next() + step.operands[0].imm.value.u; }
  static bool is_branch(const Step& step) {
    switch (step.info.meta.category) {
      case ZYDIS_CATEGORY_COND_BR:
      case ZYDIS_CATEGORY_UNCOND_BR:
      case ZYDIS_CATEGORY_CALL:
      case ZYDIS_CATEGORY_RET:
        return true;
      default:
        return false;
    }
  }
  void note_target(const Step& step) {
    if (is_branch(step) && is_relative(step)) targets_.push_back(target_of(step));
  }
  bool is_target(u64 address) const { return std::ranges::binary_search(targets_, address); }

  bool judge(const Step& step, const Step* next, const Step* previous) {
    const ZydisDecodedInstruction& info = step.info;
    constexpr ZydisInstructionAttributes kStrange =
        ZYDIS_ATTRIB_HAS_LOCK | ZYDIS_ATTRIB_HAS_XACQUIRE | ZYDIS_ATTRIB_HAS_XRELEASE |
        ZYDIS_ATTRIB_HAS_SEGMENT_FS | ZYDIS_ATTRIB_HAS_BND | ZYDIS_ATTRIB_IS_PRIVILEGED;
    if ((info.attributes & kStrange) != 0) return refuse(step.address, "prefix or privilege");
    if (is_branch(step)) return judge_branch(step);
    if (step.is(ZYDIS_MNEMONIC_PUSHFQ)) {
      // Only together with what takes them off the host's stack again.
      const bool pair = next != nullptr && next->address == step.next() &&
                        next->is(ZYDIS_MNEMONIC_POP) && next->is_register(0, ZYDIS_REGISTER_R8) &&
                        !is_target(next->address);
      return pair || refuse(step.address, "flags stay on the host's stack");
    }
    if (step.is(ZYDIS_MNEMONIC_POP)) {
      known_.r8_linear = true;  // flags have no bits above 31
      known_.r8_window = false;
      return (previous != nullptr && previous->is(ZYDIS_MNEMONIC_PUSHFQ) &&
              step.is_register(0, ZYDIS_REGISTER_R8)) ||
             refuse(step.address, "the host's stack");
    }
    if (is_string(step)) return judge_string(step);
    if (const auto judged = judge_wide(step)) return *judged || refuse(step.address, "64-bit glue");
    // From here on RSI and RDI must be the guest's.
    if ((known_.rsi_host || known_.rdi_host) && !restores_pointer(step))
      return refuse(step.address, "host pointers are left standing");
    if (!is_accepted(info)) return refuse(step.address, "not on the list");
    if (!judge_operands(step)) return false;
    follow(step);
    return true;
  }

  static bool is_accepted(const ZydisDecodedInstruction& info) {
    if (info.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX) {
      return (info.mnemonic == ZYDIS_MNEMONIC_PEXT || info.mnemonic == ZYDIS_MNEMONIC_PDEP) &&
             info.operand_width == 32;
    }
    if (info.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY) return false;
    switch (info.meta.isa_set) {
      case ZYDIS_ISA_SET_X87:
      case ZYDIS_ISA_SET_FCMOV:
      case ZYDIS_ISA_SET_PENTIUMMMX:
      case ZYDIS_ISA_SET_SSE:
      case ZYDIS_ISA_SET_SSE2:
      case ZYDIS_ISA_SET_SSE2MMX:
      case ZYDIS_ISA_SET_SSEMXCSR:
        if (info.mnemonic == ZYDIS_MNEMONIC_MOVNTI) break;
        return !has(kRefusedVectors, info.mnemonic);
      default:
        break;
    }
    return has(kComparisons, info.mnemonic) || has(kIntegers, info.mnemonic) ||
           info.meta.category == ZYDIS_CATEGORY_CMOV || info.meta.category == ZYDIS_CATEGORY_SETCC;
  }

  // --- control flow

  bool judge_branch(const Step& step) {
    if (known_.rsi_host || known_.rdi_host)
      return refuse(step.address, "a jump with host pointers");
    if (step.info.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
      return refuse(step.address, "a far jump");
    if (step.is(ZYDIS_MNEMONIC_RET)) {
      return step.info.operand_count_visible == 0 || refuse(step.address, "RET with an operand");
    }
    if (step.info.operand_width == 16) return refuse(step.address, "a 16-bit jump");
    if (is_relative(step)) {
      const u64 target = target_of(step);
      const bool border =
          target == context_.exit || target == context_.miss || target == context_.lookup;
      const bool call = step.is(ZYDIS_MNEMONIC_CALL);
      const bool inside = std::ranges::binary_search(starts_, target) && !splits_a_pair(target);
      if (!inside && (!border || call)) return refuse(step.address, "a jump to nowhere");
      if (call || step.is(ZYDIS_MNEMONIC_JMP)) known_ = unknown();
      return true;
    }
    const ZydisDecodedOperand& operand = step.operands[0];
    const bool table = operand.type == ZYDIS_OPERAND_TYPE_MEMORY &&
                       operand.mem.base == ZYDIS_REGISTER_R13 &&
                       operand.mem.index == ZYDIS_REGISTER_R9 && operand.mem.scale == 8 &&
                       operand.mem.disp.value == 0 && step.info.address_width == 64 &&
                       (step.info.attributes & ZYDIS_ATTRIB_HAS_SEGMENT) == 0 && known_.r9_index;
    if (!table) return refuse(step.address, "an indirect jump");
    known_ = unknown();
    return true;
  }
  bool splits_a_pair(u64 target) const {
    for (const Step& step : steps_) {
      if (step.address == target && step.is(ZYDIS_MNEMONIC_POP)) return true;
    }
    return false;
  }

  // --- glue

  static bool is_string(const Step& step) {
    switch (step.info.mnemonic) {
      case ZYDIS_MNEMONIC_MOVSB:
      case ZYDIS_MNEMONIC_MOVSW:
      case ZYDIS_MNEMONIC_STOSB:
      case ZYDIS_MNEMONIC_STOSW:
      case ZYDIS_MNEMONIC_STOSD:
        return true;
      case ZYDIS_MNEMONIC_MOVSD:
        return step.info.meta.category == ZYDIS_CATEGORY_STRINGOP;
      default:
        return false;
    }
  }
  bool judge_string(const Step& step) {
    const bool move = step.info.mnemonic == ZYDIS_MNEMONIC_MOVSB ||
                      step.info.mnemonic == ZYDIS_MNEMONIC_MOVSW ||
                      step.info.mnemonic == ZYDIS_MNEMONIC_MOVSD;
    const bool plain = (step.info.attributes & ZYDIS_ATTRIB_HAS_SEGMENT) == 0 &&
                       (step.info.attributes & ZYDIS_ATTRIB_HAS_REPNE) == 0 &&
                       step.info.address_width == 64 && step.info.operand_width <= 32;
    return (plain && known_.rdi_host && known_.rsi_host == move) ||
           refuse(step.address, "a string instruction");
  }
  bool restores_pointer(const Step& step) const {
    if (!step.is(ZYDIS_MNEMONIC_MOV)) return false;
    return (step.is_register(0, ZYDIS_REGISTER_ESI) && step.is_register(1, ZYDIS_REGISTER_ESI)) ||
           (step.is_register(0, ZYDIS_REGISTER_EDI) && step.is_register(1, ZYDIS_REGISTER_EDI));
  }
  static bool is_place(const ZydisDecodedOperand& operand, i64 place) {
    return operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.mem.base == ZYDIS_REGISTER_R15 &&
           operand.mem.index == ZYDIS_REGISTER_NONE && operand.mem.disp.value == place;
  }

  /// The few instructions that write a general register as a whole. nullopt: not one of them.
  std::optional<bool> judge_wide(const Step& step) {
    const ZydisDecodedOperand& to = step.operands[0];
    const bool to_register = to.type == ZYDIS_OPERAND_TYPE_REGISTER;
    const bool wide_register =
        to_register && ZydisRegisterGetClass(to.reg.value) == ZYDIS_REGCLASS_GPR64;
    const bool wide_store = is_place(to, kCounterPlace);
    if (!wide_register && !wide_store) return std::nullopt;
    if (step.info.address_width != 64 || (step.info.attributes & ZYDIS_ATTRIB_HAS_SEGMENT) != 0)
      return false;
    const ZydisDecodedOperand& from = step.operands[1];
    if (wide_store) {
      return step.is(ZYDIS_MNEMONIC_MOV) && step.is_register(1, ZYDIS_REGISTER_R8);
    }
    if (step.is(ZYDIS_MNEMONIC_MOV)) return load_wide(to.reg.value, from);
    if (!step.is(ZYDIS_MNEMONIC_LEA)) return false;
    const ZydisRegister base = from.mem.base, index = from.mem.index;
    if (to.reg.value == ZYDIS_REGISTER_R8) {  // lea r8, [r8 + 1]: the counter
      known_.r8_window = known_.r8_linear = false;
      return base == ZYDIS_REGISTER_R8 && index == ZYDIS_REGISTER_NONE && from.mem.disp.value == 1;
    }
    const bool source = to.reg.value == ZYDIS_REGISTER_RSI;
    if (!source && to.reg.value != ZYDIS_REGISTER_RDI) return false;
    bool& host = source ? known_.rsi_host : known_.rdi_host;
    const bool fits = base == to.reg.value && index == ZYDIS_REGISTER_R8 && from.mem.scale == 1 &&
                      from.mem.disp.value == 0 && known_.r8_window && !host;
    host = true;
    return fits;
  }
  bool load_wide(ZydisRegister to, const ZydisDecodedOperand& from) {
    if (known_.rsi_host || known_.rdi_host) return false;
    if (to == ZYDIS_REGISTER_R8) {
      known_.r8_linear = false;
      known_.r8_window = is_place(from, kWindowPlace);
      return known_.r8_window || is_place(from, kCounterPlace);
    }
    if (to != ZYDIS_REGISTER_R9) return false;
    known_.r9_index = false;
    known_.r9_window = is_place(from, kUserWindowPlace);
    return known_.r9_window;
  }

  // --- operands

  bool judge_operands(const Step& step) {
    for (unsigned i = 0; i < step.info.operand_count; ++i) {
      const ZydisDecodedOperand& operand = step.operands[i];
      if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) {
        if (!judge_register(step, operand)) return false;
      } else if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) {
        const bool lea = step.is(ZYDIS_MNEMONIC_LEA);
        if (lea ? !judge_address(operand) : !judge_memory(step, operand))
          return refuse(step.address, "memory");
      } else if (operand.type == ZYDIS_OPERAND_TYPE_POINTER) {
        return refuse(step.address, "a far pointer");
      }
    }
    return true;
  }
  bool judge_register(const Step& step, const ZydisDecodedOperand& operand) {
    const ZydisRegister reg = operand.reg.value;
    const ZydisRegisterClass kind = ZydisRegisterGetClass(reg);
    switch (kind) {
      case ZYDIS_REGCLASS_FLAGS:
      case ZYDIS_REGCLASS_X87:
      case ZYDIS_REGCLASS_MMX:
        return true;
      case ZYDIS_REGCLASS_XMM:
        return ZydisRegisterGetId(reg) < 8 || refuse(step.address, "a register of the host");
      default:
        break;
    }
    if (!is_general(reg)) {
      // x87 and SSE control and status.
      const bool unit = reg == ZYDIS_REGISTER_X87CONTROL || reg == ZYDIS_REGISTER_X87STATUS ||
                        reg == ZYDIS_REGISTER_X87TAG || reg == ZYDIS_REGISTER_MXCSR;
      return unit || refuse(step.address, "a register of the system");
    }
    if (kind == ZYDIS_REGCLASS_GPR64) return refuse(step.address, "a 64-bit register");
    // Neither written nor read: host addresses are no business of the guest.
    return !is_host_register(reg) || refuse(step.address, "a register of the host");
  }
  /// LEA: computes from guest and scratch registers only.
  bool judge_address(const ZydisDecodedOperand& operand) const {
    const auto fits = [&](ZydisRegister reg) {
      return reg == ZYDIS_REGISTER_NONE || (is_general(reg) && !is_host_register(reg));
    };
    return fits(operand.mem.base) && fits(operand.mem.index);
  }
  bool judge_memory(const Step& step, const ZydisDecodedOperand& operand) const {
    const auto& mem = operand.mem;
    if (mem.segment == ZYDIS_REGISTER_GS) {
      const auto fits = [](ZydisRegister reg) {
        return reg == ZYDIS_REGISTER_NONE ||
               (ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_GPR32 && !is_host_register(reg));
      };
      // XLAT's AL is hidden in the mnemonic.
      const bool table = step.is(ZYDIS_MNEMONIC_XLAT) && mem.index == ZYDIS_REGISTER_AL;
      return step.info.address_width == 32 && fits(mem.base) && (fits(mem.index) || table);
    }
    if ((step.info.attributes & ZYDIS_ATTRIB_HAS_SEGMENT) != 0 || step.info.address_width != 64)
      return false;
    const bool write = (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
    if (mem.base == ZYDIS_REGISTER_R9) {
      return known_.r9_window && known_.r8_linear && mem.index == ZYDIS_REGISTER_R8 &&
             mem.scale == 1 && mem.disp.value == 0 && !is_bit_string(step);
    }
    if (mem.index != ZYDIS_REGISTER_NONE) return false;
    if (mem.base == ZYDIS_REGISTER_R14) {
      constexpr i64 kTableBytes = i64{4} << 20;
      return step.is(ZYDIS_MNEMONIC_CMP) && !write && operand.size == 32 && mem.disp.value >= 0 &&
             mem.disp.value <= kTableBytes - 4;
    }
    if (mem.base != ZYDIS_REGISTER_R15 || is_bit_string(step)) return false;
    for (const StatePlace& place : kPlaces) {
      if (mem.disp.value == place.at && operand.size == place.size * 8u)
        return place.size < 8 && (!write || place.writable);
    }
    return false;
  }
  /// BT and kin with a register reach 256 MiB around their operand.
  static bool is_bit_string(const Step& step) {
    switch (step.info.mnemonic) {
      case ZYDIS_MNEMONIC_BT:
      case ZYDIS_MNEMONIC_BTS:
      case ZYDIS_MNEMONIC_BTR:
      case ZYDIS_MNEMONIC_BTC:
        return step.operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER;
      default:
        return false;
    }
  }

  /// What an accepted instruction makes of what is known.
  void follow(const Step& step) {
    for (unsigned i = 0; i < step.info.operand_count; ++i) {
      const ZydisDecodedOperand& operand = step.operands[i];
      if (operand.type != ZYDIS_OPERAND_TYPE_REGISTER) continue;
      if ((operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) == 0) continue;
      const ZydisRegister reg = operand.reg.value;
      const bool zero_extends = ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_GPR32 &&
                                (operand.actions & ZYDIS_OPERAND_ACTION_WRITE) != 0;
      switch (full(reg)) {
        case ZYDIS_REGISTER_R8:
          known_.r8_window = false;
          known_.r8_linear = zero_extends;
          break;
        case ZYDIS_REGISTER_R9:
          known_.r9_window = false;
          known_.r9_index = step.is(ZYDIS_MNEMONIC_MOVZX) && zero_extends &&
                            step.is_register(1, ZYDIS_REGISTER_R8W);
          break;
        case ZYDIS_REGISTER_RSI:
          if (zero_extends) known_.rsi_host = false;
          break;
        case ZYDIS_REGISTER_RDI:
          if (zero_extends) known_.rdi_host = false;
          break;
        default:
          break;
      }
    }
  }

  const VerifierContext& context_;
  ZydisDecoder decoder_;
  std::vector<Step> steps_;
  std::vector<u64> starts_, targets_;
  Known known_;
  std::optional<VerifierComplaint> complaint_;
};

}  // namespace

std::optional<VerifierComplaint> verify(std::span<const VerifierPiece> pieces,
                                        const VerifierContext& context) {
  return Verifier(context).run(pieces);
}

}  // namespace snowglobe::vm
