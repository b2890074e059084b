// tests/translator/sequence/program.cc - the generator. Keeps track of which registers hold
// addresses, how much is on the stack, and which flags the manual leaves undefined: nothing that
// reads those is emitted until they are defined again, as each executor has its own.
#include "tests/translator/sequence/program.h"

#include "base/bytes.h"
#include "vm/cpu/flags.h"

#include <algorithm>
#include <initializer_list>

namespace snowglobe::sequence {
namespace {

enum : u8 { kEax, kEcx, kEdx, kEbx, kEsp, kEbp, kEsi, kEdi };

class Writer {
 public:
  Writer(Random& random, Program& program) : random_(random), program_(program) {}

  void write() {
    prologue();
    const unsigned items = 4 + random_.below(18);
    for (unsigned i = 0; i < items; ++i)
      item(0);
    define_flags();
    while (depth_ > 0)
      pop_into(kEdx);
    insn({0xCD, kEndVector});
    for (const Call& call : calls_)
      subroutine(call);
    program_.starts.push_back(size());
  }

 private:
  struct Call {
    u32 fixup;  ///< position behind a 32-bit distance, or of an absolute address
    bool absolute;
  };

  u32 size() const { return static_cast<u32>(program_.code.size()); }
  u32 here() const { return program_.start + size(); }
  void bytes(std::initializer_list<u8> values) {
    program_.code.insert(program_.code.end(), values);
  }
  void word(u32 value) {
    for (unsigned i = 0; i < 4; ++i)
      program_.code.push_back(static_cast<u8>(value >> (8 * i)));
  }
  void begin() { program_.starts.push_back(size()); }
  void insn(std::initializer_list<u8> values) {
    begin();
    bytes(values);
  }
  void insn(std::initializer_list<u8> values, u32 immediate) {
    insn(values);
    word(immediate);
  }
  void put(u32 at, u32 value) { base::store_le(&program_.code[at], value); }
  bool chance(u32 times, u32 out_of) { return random_.chance(times, out_of); }
  u8 data_register() {
    constexpr u8 kRegisters[] = {kEax, kEcx, kEdx, kEax};
    return kRegisters[random_.below(4)];
  }
  u8 any_register() { return chance(1, 8) ? u8{kEsp} : static_cast<u8>(random_.below(8)); }

  // --- flags
  void undefine() { undefined_ = true; }
  void define_flags() {
    if (!undefined_) return;
    insn({0x39, static_cast<u8>(0xC0 | random_.below(64))});  // cmp
    undefined_ = false;
  }

  // --- operands
  u32 place(u32 alignment) {
    const u32 dice = random_.below(100);
    u32 page = kData;
    if (dice < 70) {
      page = kData + random_.below(0x2000);
    } else if (dice < 80) {
      page = kReadOnly - 8 + random_.below(0x1000);
    } else if (dice < 90) {
      page = kLazy - 8 + random_.below(0x1000);
    } else if (dice < 98) {
      page = kData + 0xFF0 + random_.below(32);
    } else {
      page = kNever - 4 + random_.below(64);
    }
    return chance(15, 16) ? page & ~(alignment - 1) : page;
  }
  /// Makes a pointer register hold an address near which an operand may be.
  u8 pointer(u32 address) {
    constexpr u8 kPointers[] = {kEbx, kEsi, kEdi, kEbp};
    const u8 reg = kPointers[random_.below(4)];
    begin();
    bytes({static_cast<u8>(0xB8 | reg)});
    word(address);
    return reg;
  }
  /// Prefix, opcode, ModRM and what follows it, for an operand in memory.
  void memory(std::initializer_list<u8> opcode, u8 reg, u32 alignment = 1) {
    const u8 field = static_cast<u8>((reg & 7) << 3);
    const u32 target = place(alignment);
    const u32 way = random_.below(16);
    if (way < 2) {
      begin();
      bytes(opcode);
      bytes({static_cast<u8>(field | 5)});
      return word(target);
    }
    if (way < 5) {  // on the stack
      begin();
      bytes(opcode);
      const u32 slots = 1 + random_.below(std::max(1u, depth_));
      const u32 offset = (slots * 4) & ~(std::min(alignment, 4u) - 1);
      return bytes({static_cast<u8>(0x44 | field), 0x24, static_cast<u8>(0 - offset)});
    }
    if (way < 7) {  // by GS, whose segment begins at kData
      begin();
      bytes({0x65});
      bytes(opcode);
      bytes({static_cast<u8>(field | 5)});
      return word(target - kData);
    }
    const u32 displacement = chance(1, 3) ? random_.next32() : random_.below(256) - 128;
    if (way < 10) {  // with an index
      const u8 index = chance(1, 2) ? u8{kEcx} : u8{kEdx};
      insn({0x0F, 0xB6, static_cast<u8>(0xC0 | index << 3 | index)});  // movzx
      const u8 scale = static_cast<u8>(random_.below(4));
      const u8 base = pointer(target - displacement - 128);
      begin();
      bytes(opcode);
      bytes({static_cast<u8>(0x84 | field), static_cast<u8>(scale << 6 | index << 3 | base)});
      return word(displacement);
    }
    const u8 base = pointer(target - displacement);
    begin();
    bytes(opcode);
    const bool short_one = displacement + 128 < 256;
    bytes({static_cast<u8>((short_one ? 0x40 : 0x80) | field | base)});
    if (short_one) return bytes({static_cast<u8>(displacement)});
    word(displacement);
  }
  void modrm_register(std::initializer_list<u8> opcode, u8 reg, u8 rm) {
    begin();
    bytes(opcode);
    bytes({static_cast<u8>(0xC0 | (reg & 7) << 3 | (rm & 7))});
  }
  /// Either.
  void operand(std::initializer_list<u8> opcode, u8 reg, u8 rm, u32 alignment = 1) {
    if (chance(1, 2)) return memory(opcode, reg, alignment);
    modrm_register(opcode, reg, rm);
  }

  // --- pieces
  void prologue() {
    for (unsigned reg = 0; reg < 8; ++reg)
      program_.gpr[reg] = oracle::edge32(random_);
    program_.gpr[kEsp] = kStackTop - 0x100 - 4 * random_.below(8);
    if (program_.user && chance(1, 4)) program_.gpr[kEsp] = kStack + 0x1000 + 4 * random_.below(6);
    program_.gpr[kEbp] = kData + random_.below(0x1000);
    program_.flags = (random_.next32() & vm::kArithmeticFlags) | vm::kFlagReserved1;
  }

  void item(unsigned nesting) {
    using Piece = void (Writer::*)();
    constexpr Piece kPieces[] = {
        &Writer::arithmetic, &Writer::arithmetic, &Writer::arithmetic,    &Writer::move,
        &Writer::move,       &Writer::unary,      &Writer::shift,         &Writer::bits,
        &Writer::condition,  &Writer::condition,  &Writer::stack,         &Writer::stack,
        &Writer::stack,      &Writer::stack,      &Writer::stack_pointer, &Writer::flags,
        &Writer::high_bytes, &Writer::exchange,   &Writer::strings,       &Writer::strings,
        &Writer::vectors,    &Writer::vectors,    &Writer::x87,           &Writer::x87,
        &Writer::system,     &Writer::multiply,   &Writer::rewrite_code,  &Writer::skip,
        &Writer::skip,       &Writer::call,       &Writer::jump,          &Writer::arithmetic};
    if (nesting < 2 && chance(1, 12)) return loop(nesting);
    (this->*kPieces[random_.below(static_cast<u32>(std::size(kPieces)))])();
  }

  void arithmetic() {
    const u8 operation = static_cast<u8>(random_.below(8));
    if (operation == 2 || operation == 3) define_flags();  // adc, sbb
    const bool logic = operation == 1 || operation == 4 || operation == 6;
    const u8 reg = data_register();
    const u8 form = static_cast<u8>(operation << 3 | random_.below(4));
    switch (random_.below(4)) {
      case 0:
        operand({form}, reg, data_register());
        break;
      case 1:
        operand({static_cast<u8>(form | 1)}, reg, data_register());
        break;
      case 2:
        operand({0x66, static_cast<u8>(form | 1)}, reg, data_register());
        break;
      default:
        if (chance(1, 2)) {
          operand({0x83}, operation, data_register());
          bytes({static_cast<u8>(random_.next())});
        } else {
          operand({0x81}, operation, data_register());
          word(oracle::edge32(random_));
        }
    }
    undefined_ = logic;  // AF
  }
  void move() {
    const u8 reg = data_register();
    switch (random_.below(7)) {
      case 0:
        return memory({0x8B}, reg);
      case 1:
        return memory({0x89}, any_register());
      case 2:
        return operand({0x0F, static_cast<u8>(0xB6 | random_.below(2) | random_.below(2) << 3)},
                       reg, data_register());
      case 3:
        return memory({0x8D}, reg);
      case 4:
        insn({static_cast<u8>(0xA0 | random_.below(4))});
        return word(place(1));
      case 5:
        memory({0xC7}, 0);
        return word(oracle::edge32(random_));
      default:
        return operand({0x66, 0x8B}, reg, any_register());
    }
  }
  void unary() {
    switch (random_.below(4)) {
      case 0:
        return insn({static_cast<u8>(0x40 | data_register() | random_.below(2) << 3)});
      case 1:
        return operand({static_cast<u8>(0xFE | random_.below(2))},
                       static_cast<u8>(random_.below(2)), data_register());
      case 2:
        return operand({0xF7}, 2, data_register());  // not
      default:
        undefined_ = false;
        return operand({0xF7}, 3, data_register());  // neg
    }
  }
  void shift() {
    static constexpr u8 kOperations[] = {0, 1, 2, 3, 4, 5, 7};
    const u8 operation = kOperations[random_.below(7)];
    define_flags();  // RCL reads CF, and a count of 0 keeps all
    if (chance(1, 3)) {
      operand({0xD3}, operation, data_register());
    } else {
      operand({0xC1}, operation, data_register());
      bytes({static_cast<u8>(random_.next() & 31)});
    }
    undefine();
  }
  void bits() {
    const u8 reg = data_register();
    switch (random_.below(5)) {
      case 0:
        modrm_register({0x0F, static_cast<u8>(0xA3 | random_.below(4) << 3)}, reg, data_register());
        break;
      case 1:
        operand({0x0F, 0xBA}, static_cast<u8>(4 | random_.below(4)), reg);
        bytes({static_cast<u8>(random_.next())});
        break;
      case 2:
        insn({0x0D}, random_.next32() | 1);  // or eax: BSF and BSR want a bit
        modrm_register({0x0F, static_cast<u8>(0xBC | random_.below(2))}, kEdx, kEax);
        break;
      case 3:
        modrm_register({0x0F, static_cast<u8>(chance(1, 2) ? 0xA4 : 0xAC)}, reg, data_register());
        bytes({static_cast<u8>(1 + random_.below(31))});
        break;
      default:
        return insn({0x0F, static_cast<u8>(0xC8 | reg)});  // bswap
    }
    undefine();
  }
  void condition() {
    define_flags();
    const u8 code = static_cast<u8>(random_.below(16));
    if (chance(1, 2)) return operand({0x0F, static_cast<u8>(0x90 | code)}, 0, data_register());
    operand({0x0F, static_cast<u8>(0x40 | code)}, data_register(), any_register());
  }
  void pop_into(u8 reg) {
    insn({static_cast<u8>(0x58 | reg)});
    if (depth_ > 0) --depth_;
  }
  void push_something() {
    ++depth_;
    switch (random_.below(6)) {
      case 0:
        return insn({0x68}, oracle::edge32(random_));
      case 1:
        return insn({0x6A, static_cast<u8>(random_.next())});
      case 2:
        return memory({0xFF}, 6);
      case 3:
        define_flags();
        return insn({0x9C});
      case 4:
        return insn({static_cast<u8>(chance(1, 2) ? 0x1E : 0x06)});  // push ds, es
      default:
        return insn({static_cast<u8>(0x50 | any_register())});
    }
  }
  void stack() {
    if (depth_ == 0 || chance(3, 5)) return push_something();
    switch (random_.below(4)) {
      case 0:
        memory({0x8F}, 0);
        --depth_;
        return;
      case 1:
        insn({0x83, 0xC4, 4});  // add esp, 4
        --depth_;
        return;
      default:
        return pop_into(data_register());
    }
  }
  void stack_pointer() {
    switch (random_.below(6)) {
      case 0:
        insn({0x83, 0xEC, 8});
        depth_ += 2;
        return;
      case 1:
        insn({0x8D, 0x64, 0x24, 0xF8});  // lea esp, [esp-8]
        depth_ += 2;
        return;
      case 2:
        return modrm_register({0x89}, kEsp, data_register());
      case 3: {  // a frame
        insn({0x55});
        insn({0x89, 0xE5});
        const u32 before = depth_;
        push_something();
        arithmetic_on_data();
        insn({0x8D, 0x6C, 0x24, static_cast<u8>(4 * (depth_ - before))});
        insn({0xC9});
        depth_ = before;
        return;
      }
      case 4:
        insn({0x54});  // push esp; pop esp
        return insn({0x5C});
      default:
        return memory({0x89}, kEsp);
    }
  }
  void arithmetic_on_data() {
    modrm_register({0x01}, data_register(), data_register());
    undefined_ = false;
  }
  void flags() {
    define_flags();
    switch (random_.below(6)) {
      case 0:
        return insn({static_cast<u8>(chance(1, 2) ? 0x9E : 0x9F)});
      case 1:
        insn({0x9C});
        return insn({0x9D});
      case 2:
        insn({0x68}, (random_.next32() & vm::kArithmeticFlags) | (chance(1, 8) ? vm::kFlagDf : 0u));
        insn({0x9D});
        if (chance(3, 4)) insn({0xFC});
        return;
      case 3:
        return insn({static_cast<u8>(0xF8 | random_.below(2))});
      case 4:
        return insn({0xF5});
      default:
        if (!program_.user) return insn({static_cast<u8>(0xFA | random_.below(2))});  // cli, sti
        return insn({0xFC});
    }
  }
  void high_bytes() {
    const u8 high = static_cast<u8>(4 + random_.below(3));
    switch (random_.below(3)) {
      case 0:
        return insn({0x8A, static_cast<u8>(0x44 | high << 3), 0x24, 0xF0});  // mov ah, [esp-16]
      case 1:
        return memory({0x88}, high);
      default:
        return modrm_register({0x8A}, high, static_cast<u8>(random_.below(7)));
    }
  }
  void exchange() {
    switch (random_.below(5)) {
      case 0:
        return memory({0x87}, data_register());
      case 1:
        undefined_ = false;
        return memory({0x0F, 0xC1}, data_register());
      case 2:
        undefined_ = false;
        begin();
        bytes({0xF0, 0x0F, 0xB1, 0x0D});  // lock cmpxchg [disp32], ecx
        return word(kData + random_.below(0x1000));
      case 3:
        return insn({static_cast<u8>(0x90 | data_register())});
      default:
        return modrm_register({0x86}, data_register(), data_register());
    }
  }
  void strings() {
    insn({0xBE}, place(1));
    insn({0xBF}, place(1));
    insn({0xB9}, chance(1, 8) ? 0 : 1 + random_.below(chance(1, 4) ? 2000 : 40));
    const bool repeated = chance(2, 3);
    static constexpr u8 kOpcodes[] = {0xA4, 0xA5, 0xAA, 0xAB, 0xAC, 0xAD, 0xA6, 0xA7, 0xAE, 0xAF};
    const u8 opcode = kOpcodes[random_.below(repeated ? 4 : 10)];
    const bool wide = (opcode & 1) != 0 && chance(1, 4);
    begin();
    if (wide) bytes({0x66});
    if (repeated) bytes({0xF3});
    bytes({opcode});
    if (opcode == 0xA6 || opcode == 0xA7 || opcode == 0xAE || opcode == 0xAF) undefined_ = false;
  }
  void vectors() {
    const u8 a = static_cast<u8>(random_.below(8)), b = static_cast<u8>(random_.below(8));
    switch (random_.below(9)) {
      case 0:
        return operand({0x0F, 0x28}, a, b, 16);
      case 1:
        return memory({0xF3, 0x0F, 0x6F}, a);
      case 2:
        return memory({0x66, 0x0F, 0x7F}, a, 16);
      case 3:
        return operand({0x66, 0x0F, 0xFE}, a, b, 16);
      case 4:
        return operand({0x66, 0x0F, 0x6E}, a, data_register());
      case 5:
        return operand({0x66, 0x0F, 0x7E}, a, any_register() == kEsp ? u8{kEax} : data_register());
      case 6:
        return operand({0x66, 0x0F, 0xEF}, a, b, 16);
      case 7:
        undefined_ = false;
        return operand({0x66, 0x0F, 0x2E}, a, b);
      default:
        return operand({0xF2, 0x0F, 0x2A}, a, data_register());
    }
  }
  void x87() {
    switch (random_.below(8)) {
      case 0:
        return insn({0xD9, static_cast<u8>(0xE8 | random_.below(7))});
      case 1:
        return memory({0xDB}, 0);
      case 2:
        return memory({0xDD}, 3);
      case 3:
        return insn({0xDE, 0xC1});
      case 4:
        return insn({0xDF, 0xE0});
      case 5:
        return memory({0xD9}, 7);
      case 6:
        return insn({0xDB, 0xE3});
      default:
        return insn({0xD9, static_cast<u8>(0xC0 | random_.below(16))});
    }
  }
  void system() {
    switch (random_.below(program_.user ? 6 : 11)) {
      case 0:
        define_flags();  // in ring 0 they stay behind in the frame
        return insn({0xCD, kCallVector});
      case 1:
        return insn({0x0F, 0xA2});  // cpuid: sets EBX, too
      case 2:
        return insn({0x0F, 0x31});
      case 3:
        return memory({0x0F, 0xAE}, 3);  // stmxcsr
      case 4:
        return insn({0x8C, static_cast<u8>(0xC0 | random_.below(4) << 3)});
      case 5:
        insn({0x1E});
        return insn({0x07});  // pop es
      case 6:
        insn({0x0F, 0x20, 0xD8});
        return insn({0x0F, 0x22, 0xD8});  // mov cr3
      case 7:
        insn({0x0F, 0x20, 0xC0});
        insn({0x83, 0xC8, 0x08});
        insn({0x0F, 0x22, 0xC0});  // CR0.TS
        return undefine();
      case 8:
        return insn({0x0F, 0x06});
      case 9:
        begin();
        bytes({0x0F, 0x01, 0x3D});  // invlpg
        return word(place(1));
      default:
        return insn({static_cast<u8>(0xE4 | random_.below(2)), 0x60});
    }
  }
  void multiply() {
    if (chance(1, 2)) {
      operand({0x0F, 0xAF}, data_register(), any_register());
    } else if (chance(2, 3)) {
      operand({0xF7}, static_cast<u8>(4 | random_.below(2)), kEcx);
    } else {
      insn({0x99});
      insn({0x83, 0xC9, 0x01});
      insn({0xF7, 0xF9});  // idiv ecx
    }
    undefine();
  }
  // Stores into the immediate operand of an instruction that comes soon, or has been.
  void rewrite_code() {
    const u32 value = oracle::edge32(random_);
    begin();
    bytes({0xC7, 0x05});
    const u32 target = size();
    word(0);
    word(value);
    const unsigned between = random_.below(3);
    for (unsigned i = 0; i < between; ++i)
      arithmetic_on_data();
    insn({static_cast<u8>(0xB8 | data_register())});
    put(target, here());
    word(random_.next32());
  }
  // A forward branch over a few instructions.
  void skip() {
    define_flags();
    const u32 depth = depth_;
    const bool zero_count = chance(1, 8);
    begin();
    if (zero_count) {
      bytes({0xE3, 0});
    } else if (chance(1, 2)) {
      bytes({static_cast<u8>(0x70 | random_.below(16)), 0});
    } else {
      bytes({0x0F, static_cast<u8>(0x80 | random_.below(16)), 0, 0, 0, 0});
    }
    const u32 from = size();
    const bool near_one = program_.code[from - 2] == 0 && program_.code[from - 6] == 0x0F;
    const unsigned count = 1 + random_.below(2);
    for (unsigned i = 0; i < count; ++i)
      move();
    define_flags();
    const u32 distance = size() - from;
    if (near_one) {
      put(from - 4, distance);
    } else {
      program_.code[from - 1] = static_cast<u8>(std::min(distance, 127u));
    }
    depth_ = depth;
  }
  void jump() {
    define_flags();
    insn({static_cast<u8>(0xB8 | kEdx)}, here() + 5 + 2);
    insn({0xFF, 0xE2});  // jmp edx
  }
  void call() {
    define_flags();
    switch (random_.below(4)) {
      case 0:
        insn({0xE8}, 0);
        calls_.push_back({size(), false});
        return;
      case 1:
        insn({0xB8}, 0);
        calls_.push_back({size(), true});
        return insn({0xFF, 0xD0});
      case 2:
        insn({0xC7, 0x05}, kControl + 0x800);
        word(0);
        calls_.push_back({size(), true});
        return insn({0xFF, 0x15}, kControl + 0x800);
      default:
        insn({0x68}, here() + 5 + 5 + 1);  // a return to behind, then one to the subroutine
        insn({0x68}, 0);
        calls_.push_back({size(), true});
        return insn({0xC3});
    }
  }
  void subroutine(const Call& call) {
    put(call.fixup - 4, call.absolute ? here() : size() - call.fixup);
    const u32 outer = depth_;
    depth_ = 0;
    undefined_ = false;
    const unsigned count = random_.below(4);
    for (unsigned i = 0; i < count; ++i) {
      if (chance(1, 2)) {
        arithmetic();
      } else {
        move();
      }
    }
    define_flags();
    insn({0xC3});
    depth_ = outer;
  }
  void loop(unsigned nesting) {
    const u32 counter = kControl + 4 * random_.below(64) + 0x200 * nesting;
    begin();
    bytes({0xC7, 0x05});
    word(counter);
    word(1 + random_.below(4));
    define_flags();
    const u32 top = size();
    const u32 depth = depth_;
    const std::size_t calls = calls_.size();
    const unsigned count = 1 + random_.below(4);
    for (unsigned i = 0; i < count && calls_.size() == calls; ++i)
      item(nesting + 1);
    while (depth_ > depth)
      pop_into(kEdx);
    while (depth_ < depth)
      push_something();
    define_flags();
    insn({0xFF, 0x0D}, counter);  // dec
    if (chance(1, 2)) {
      insn({0x0F, 0x85}, 0);  // jnz
      put(size() - 4, top - size());
    } else {
      insn({0x74, 5});
      insn({0xE9}, 0);
      put(size() - 4, top - size());
    }
  }

  Random& random_;
  Program& program_;
  std::vector<Call> calls_;
  u32 depth_ = 0;  ///< doublewords on the stack
  bool undefined_ = false;
};

}  // namespace

Program make_program(u64 seed, u64 index) {
  Random random(seed, index);
  Program program;
  program.seed = seed;
  program.index = index;
  program.user = random.chance(2, 3);
  program.lazy_code = random.chance(1, 3);
  program.task_switched = random.chance(1, 8);
  program.start = kArea + (random.chance(1, 2) ? 0xFA0 + random.below(96) : random.below(2048));
  Writer(random, program).write();
  return program;
}

}  // namespace snowglobe::sequence
