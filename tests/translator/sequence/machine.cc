// tests/translator/sequence/machine.cc
//
//   physical 0x00000 page directory, 0x01000 table of the system, 0x02000 table of the area
//            0x04000 GDT, 0x05000 TSS, 0x06000 IDT, 0x07000 ring-0 stack
//            0x08000 handlers, 0x09000 which pages are lazy
//            0x20000 the area's pages, in no order
#include "tests/translator/sequence/machine.h"

#include "base/bytes.h"
#include "base/check.h"
#include "vm/cpu/translator/host_faults.h"

#include <algorithm>
#include <fmt/format.h>

namespace snowglobe::sequence {
namespace {

using vm::CpuState;
using vm::kPageSize;
using vm::Segment;
using vm::StopReason;

constexpr u32 kSystem = 0xC0000000;  // linear address of physical 0
constexpr u32 kDirectory = 0x0000, kSystemTable = 0x1000, kAreaTable = 0x2000;
constexpr u32 kGdt = 0x4000, kTss = 0x5000, kIdt = 0x6000, kStackEnd = 0x8000;
constexpr u32 kHandlers = 0x8000, kLazyBytes = 0x9000;
constexpr u32 kFrames = 0x20000;
constexpr u32 kStride = 8, kFaultHandler = kHandlers + 0x900, kDeviceHandler = kHandlers + 0xA00,
              kCallHandler = kHandlers + 0xB00;
constexpr u32 kPresent = 1, kWritable = 2, kUser = 4;
constexpr u16 kCode0 = 0x08, kData0 = 0x10, kCode3 = 0x1B, kData3 = 0x23, kTls = 0x2B,
              kTssSelector = 0x30;
constexpr u64 kMostInstructions = 20'000;

struct Ports final : vm::PortBus {
  u32 in(u16, unsigned) override { return 0x12345678; }
  void out(u16, unsigned, u32) override {}
};
struct Interrupts final : vm::InterruptController {
  u8 acknowledge() override { return 0; }
};
struct Clock final : vm::TscSource {
  u64 ticks() override { return 0x123456789ABC; }
};

constexpr u64 descriptor(u32 base, u32 limit, u32 access, u32 size_flags) {
  return (u64{limit} & 0xFFFF) | (u64{base} & 0xFFFFFF) << 16 | u64{access} << 40 |
         ((u64{limit} >> 16) & 0xF) << 48 | u64{size_flags} << 52 | (u64{base} >> 24) << 56;
}

/// The pages that a program has, by place in the area; their frames are in another order.
struct AreaPage {
  u32 linear;
  u32 rights;
  bool lazy;
};
constexpr AreaPage kPages[] = {
    {kArea, kPresent | kWritable, false},
    {kArea + 0x1000, kPresent | kWritable, false},
    {kArea + 0x2000, kPresent | kWritable, false},
    {kControl, kPresent | kWritable, false},
    {kData, kPresent | kWritable, false},
    {kData + 0x1000, kPresent | kWritable, false},
    {kReadOnly, kPresent, true},
    {kLazy, 0, true},
    {kStack, 0, true},
    {kStack + 0x1000, kPresent | kWritable, false},
};
constexpr u32 kPageCount = std::size(kPages);

constexpr u32 frame_of(u32 index) {
  return kFrames + (index * 7 % kPageCount) * kPageSize;
}

}  // namespace

u32 Machine::first_page() const {
  return kFrames >> vm::kPageShift;
}
u32 Machine::last_page() const {
  return first_page() + kPageCount - 1;
}

Machine::Machine(const std::optional<vm::TranslatorOptions>& options)
    : ram_(vm::GuestRam::create(4u << 20).value()),
      ports_(std::make_unique<Ports>()),
      interrupts_(std::make_unique<Interrupts>()),
      clock_(std::make_unique<Clock>()),
      cpu_(std::make_unique<vm::Cpu>(*ram_, *ports_, *interrupts_, *clock_)),
      interpreter_(std::make_unique<vm::Interpreter>(*cpu_)) {
  build_system();
  if (options) translator_ = vm::Translator::create(*cpu_, *interpreter_, *options).value();
}

void Machine::put(u32 physical, u32 value) {
  base::store_le(ram_->write(physical, 4).data(), value);
}
u32 Machine::get(u32 physical) const {
  return base::load_le<u32>(ram_->read(physical, 4).data());
}

void Machine::build_system() {
  for (u32 i = 0; i < 1024; ++i)
    put(kSystemTable + i * 4, i << vm::kPageShift | kPresent | kWritable);
  const u64 entries[] = {0,
                         descriptor(0, 0xFFFFF, 0x9B, 0xC),
                         descriptor(0, 0xFFFFF, 0x93, 0xC),
                         descriptor(0, 0xFFFFF, 0xFB, 0xC),
                         descriptor(0, 0xFFFFF, 0xF3, 0xC),
                         descriptor(kData, 0xFFFFF, 0xF3, 0xC),
                         descriptor(kSystem + kTss, 0x67, 0x8B, 0)};
  for (u32 i = 0; i < std::size(entries); ++i)
    base::store_le(ram_->write(kGdt + i * 8, 8).data(), entries[i]);
  for (u32 vector = 0; vector < 256; ++vector) {
    u32 handler = kHandlers + vector * kStride;
    put(handler, 0xF4F4F4F4);  // hlt
    if (vector == 14) handler = kFaultHandler;
    if (vector == 7) handler = kDeviceHandler;
    if (vector == kCallVector) handler = kCallHandler;
    handler += kSystem;
    const bool open = vector >= kEndVector;
    put(kIdt + vector * 8, (handler & 0xFFFF) | u32{kCode0} << 16);
    put(kIdt + vector * 8 + 4, (handler & 0xFFFF0000) | (open ? 0xEE00u : 0x8E00u));
  }
  put(kTss + 4, kSystem + kStackEnd);
  put(kTss + 8, kData0);
  put(kTss + 0x64, 0x680000);
}

// Makes lazy pages present and writable, and halts at any other fault. In ring 0, where the frame
// stays behind in the program's memory, the flags in it are cleared: those that nobody will read
// are not kept by the translator.
void Machine::build_handlers(bool user) {
  std::vector<u8> code;
  const auto bytes = [&code](std::initializer_list<u8> values) { code.insert(code.end(), values); };
  const auto word = [&code](u32 value) {
    for (unsigned i = 0; i < 4; ++i)
      code.push_back(static_cast<u8>(value >> (8 * i)));
  };
  const auto place = [&](u32 at) {
    std::copy(code.begin(), code.end(), ram_->write(at, static_cast<u32>(code.size())).begin());
    code.clear();
  };
  bytes({0x50, 0x0F, 0x20, 0xD0, 0xC1, 0xE8, 0x0C, 0x2D});  // push eax; mov eax, cr2; shr; sub
  word(kArea >> vm::kPageShift);
  bytes({0x3D});  // cmp eax, 1024; jae stop
  word(1024);
  const std::size_t first = code.size() + 2;
  bytes({0x73, 0, 0x80, 0xB8});  // cmp byte [eax + lazy], 0; je stop
  word(kSystem + kLazyBytes);
  bytes({0x00});
  const std::size_t second = code.size() + 2;
  bytes({0x74, 0, 0xC6, 0x80});  // mov byte [eax + lazy], 0
  word(kSystem + kLazyBytes);
  bytes({0x00, 0x83, 0x0C, 0x85});  // or dword [eax * 4 + table], rights
  word(kSystem + kAreaTable);
  bytes({static_cast<u8>(kPresent | kWritable | (user ? kUser : 0))});
  bytes({0x0F, 0x20, 0xD0, 0x0F, 0x01, 0x38, 0x58});  // mov eax, cr2; invlpg [eax]; pop eax
  if (!user) {
    bytes({0x81, 0x64, 0x24, 0x0C});  // and dword [esp + 12], ~arithmetic
    word(~vm::kArithmeticFlags);
  }
  bytes({0x83, 0xC4, 0x04, 0xCF});  // add esp, 4; iret
  code[first - 1] = static_cast<u8>(code.size() - first);
  code[second - 1] = static_cast<u8>(code.size() - second);
  bytes({0x58, 0xE9});  // pop eax; jmp to the HLT of vector 14
  word(kHandlers + 14 * kStride - (kFaultHandler + static_cast<u32>(code.size()) + 4));
  place(kFaultHandler);

  bytes({0x0F, 0x06});  // clts
  if (!user) {
    bytes({0x81, 0x64, 0x24, 0x08});
    word(~vm::kArithmeticFlags);
  }
  bytes({0xCF});
  place(kDeviceHandler);
  bytes({0xCF});
  place(kCallHandler);
}

void Machine::map(u32 linear, u32 physical, u32 rights, bool lazy) {
  const u32 number = (linear - kArea) >> vm::kPageShift;
  put(kAreaTable + number * 4, physical | rights);
  ram_->write(kLazyBytes + number, 1)[0] = lazy ? 1 : 0;
}

void Machine::prepare(const Program& program) {
  const u32 all = program.user ? kUser : 0;
  put(kDirectory + (kSystem >> 22) * 4, kSystemTable | kPresent | kWritable);
  put(kDirectory + (kArea >> 22) * 4, kAreaTable | kPresent | kWritable | kUser);
  for (u32 i = 0; i < kPageCount; ++i) {
    AreaPage page = kPages[i];
    const bool second_code = page.linear == kArea + 0x1000 || page.linear == kArea + 0x2000;
    if (second_code && program.lazy_code) page = {page.linear, 0, true};
    if (page.linear == kStack && !program.user) page = {page.linear, kPresent | kWritable, false};
    // Some pages of ring 0 belong to user mode, as those that the kernel copies from.
    const bool shared = page.linear == kData + 0x1000 && (program.index & 1) != 0;
    const u32 rights = page.rights | all | (shared ? kUser : 0u);
    map(page.linear, frame_of(i), rights, page.lazy);
    u8* bytes = ram_->write(frame_of(i), kPageSize).data();
    for (u32 at = 0; at < kPageSize; at += 4)
      base::store_le(bytes + at, (page.linear + at) * 0x9E3779B1u);
    const u32 code_end = program.start + static_cast<u32>(program.code.size());
    for (u32 at = std::max(page.linear, program.start);
         at < std::min(page.linear + kPageSize, code_end); ++at) {
      bytes[at - page.linear] = program.code[at - program.start];
    }
  }
  std::ranges::fill(ram_->write(kStackEnd - kPageSize, kPageSize), u8{0});
  build_handlers(program.user);

  CpuState& state = cpu_->state;
  state = CpuState{};
  std::ranges::copy(program.gpr, state.gpr.begin());
  state.eip = program.start;
  state.eflags = vm::kFlagReserved1;
  state.flags.set(program.flags);
  const auto flat = [](u16 selector, bool code, bool user) {
    return Segment{selector, static_cast<u16>((code ? 0xC9B : 0xC93) | (user ? 0x60 : 0)), 0, ~0u};
  };
  state.segment.fill(flat(kData3, false, true));
  state.segment[vm::kCs] = flat(program.user ? kCode3 : kCode0, true, program.user);
  state.segment[vm::kSs] = flat(program.user ? kData3 : kData0, false, program.user);
  state.segment[vm::kFs] = {};
  state.segment[vm::kGs] = {kTls, 0xCF3, kData, ~0u};
  state.tr = {kTssSelector, vm::kSegPresent | 0xB, kSystem + kTss, 0x67};
  state.gdtr = {kSystem + kGdt, 7 * 8 - 1};
  state.idtr = {kSystem + kIdt, 256 * 8 - 1};
  state.cr0 = vm::kCr0Pe | vm::kCr0Mp | vm::kCr0Et | vm::kCr0Ne | vm::kCr0Wp | vm::kCr0Pg |
              (program.task_switched ? u32{vm::kCr0Ts} : 0u);
  state.cr3 = kDirectory;
  state.cr4 = vm::kCr4Pse | vm::kCr4Osfxsr | vm::kCr4Osxmmexcpt;
  state.cpl = program.user ? 3 : 0;
  Random random(program.seed + 1, program.index);
  for (vm::Xmm& xmm : state.xmm)
    oracle::edge_vector(random, xmm.bytes.data());
  cpu_->clear_exception();
  cpu_->state_replaced();
  cpu_->flush_tlb();
}

void Machine::run(const Program& program) {
  if (translator_ != nullptr) translator_->synchronize();
  prepare(program);
  if (translator_ != nullptr) {
    static thread_local const auto stack = vm::SignalStack::create();
    SG_ASSERT(stack.ok(), "a signal stack");
    const StopReason reason = translator_->run();
    translator_->synchronize();
    return finish(program, reason);
  }
  const StopReason reason = interpreter_->run(kMostInstructions);
  finish(program, reason == StopReason::kBudget ? std::nullopt : std::optional(reason));
}

void Machine::finish(const Program& program, std::optional<StopReason> reason) {
  CpuState& state = cpu_->state;
  ending_ = {};
  ending_.reason = reason;
  if (!reason) return;
  if (*reason == StopReason::kHalted) {
    ending_.vector = (state.eip - kSystem - kHandlers) / kStride;
    // HLT of a program itself, in ring 0, is no handler's.
    const bool handler = ending_.vector < 256;
    const u32 esp = state.gpr[vm::kEsp];
    const bool error_code = (ending_.vector >= 10 && ending_.vector <= 14) || ending_.vector == 8;
    for (u32 i = 0; handler && i < 6; ++i) {
      const auto at = cpu_->peek(esp + 4 * i);
      const u32 word = at ? get(*at) : 0;
      const bool flags = i == (error_code ? 3u : 2u);
      const bool end = ending_.vector == kEndVector;
      ending_.frame[i] = flags && !end ? word & ~vm::kArithmeticFlags : word;
      if (flags && !end && !program.user && at) put(*at, ending_.frame[i]);
    }
    if (program.user)
      std::ranges::fill(ending_.frame.begin() + 5 + error_code, ending_.frame.end(), 0);
  }
  state.eflags = state.full_eflags();
  if (ending_.vector != kEndVector) state.eflags &= ~vm::kArithmeticFlags;
  state.flags.set(0);
  state.instructions = 0;
  state.gpr[vm::kRegScratch] = 0;
  state.x87.ip = state.x87.dp = 0;
  state.x87.cs = state.x87.ds = state.x87.opcode = 0;
  ending_.state = state;
}

std::array<u8, kPageSize> Machine::page(u32 page) const {
  std::array<u8, kPageSize> bytes;
  std::ranges::copy(ram_->read(page << vm::kPageShift, kPageSize), bytes.begin());
  return bytes;
}

namespace {

class Differences {
 public:
  void number(const std::string& name, u64 expected, u64 actual) {
    if (expected != actual) text += fmt::format("  {:10} {:x}, not {:x}\n", name, actual, expected);
  }
  std::string text;
};

void compare_state(const CpuState& a, const CpuState& b, Differences& found) {
  static constexpr const char* kNames[] = {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"};
  for (unsigned i = 0; i < 8; ++i)
    found.number(kNames[i], a.gpr[i], b.gpr[i]);
  found.number("eip", a.eip, b.eip);
  found.number("eflags", a.eflags, b.eflags);
  found.number("cr0", a.cr0, b.cr0);
  found.number("cr2", a.cr2, b.cr2);
  found.number("cpl", a.cpl, b.cpl);
  for (unsigned i = 0; i < 6; ++i)
    found.number(fmt::format("segment {}", i), a.segment[i].selector, b.segment[i].selector);
  found.number("shadow", a.interrupt_shadow, b.interrupt_shadow);
  found.number("control", a.x87.control, b.x87.control);
  found.number("status", a.x87.status, b.x87.status);
  found.number("tag", a.x87.tag, b.x87.tag);
  for (unsigned i = 0; i < 8; ++i) {
    found.number(fmt::format("r{}", i), a.x87.physical[i].significand,
                 b.x87.physical[i].significand);
    found.number(fmt::format("r{} high", i), a.x87.physical[i].sign_exponent,
                 b.x87.physical[i].sign_exponent);
    for (unsigned half = 0; half < 16; half += 8) {
      found.number(fmt::format("xmm{}[{}]", i, half), base::load_le<u64>(&a.xmm[i].bytes[half]),
                   base::load_le<u64>(&b.xmm[i].bytes[half]));
    }
  }
  found.number("mxcsr", a.mxcsr, b.mxcsr);
}

}  // namespace

std::string difference(const Machine& expected, const Machine& actual) {
  const Ending& a = expected.ending();
  const Ending& b = actual.ending();
  Differences found;
  found.number("reason", static_cast<u64>(*a.reason), static_cast<u64>(*b.reason));
  found.number("vector", a.vector, b.vector);
  for (unsigned i = 0; i < a.frame.size(); ++i)
    found.number(fmt::format("frame[{}]", i), a.frame[i], b.frame[i]);
  compare_state(a.state, b.state, found);
  for (u32 page = expected.first_page(); page <= expected.last_page(); ++page) {
    const auto bytes = expected.page(page), others = actual.page(page);
    const auto at = std::ranges::mismatch(bytes, others);
    if (at.in1 == bytes.end()) continue;
    const auto offset = static_cast<u32>(at.in1 - bytes.begin());
    u32 linear = 0;
    for (u32 i = 0; i < kPageCount; ++i) {
      if (frame_of(i) >> vm::kPageShift == page) linear = kPages[i].linear + offset;
    }
    found.number(fmt::format("[{:08x}]", linear), *at.in1, *at.in2);
  }
  return found.text;
}

}  // namespace snowglobe::sequence
