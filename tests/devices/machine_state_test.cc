// tests/devices/machine_state_test.cc - a processor with all devices: saved in the middle, wrecked,
// and put back, it does what it would have done.
#include "vm/machine_state.h"

#include "base/archive.h"
#include "base/random.h"
#include "tests/support/load_state.h"
#include "tests/support/mock_driver.h"
#include "vm/boot/linux.h"
#include "vm/cpu/cpu.h"
#include "vm/cpu/interpreter.h"

#include <gtest/gtest.h>
#include <optional>
#include <string>

namespace snowglobe::vm {
namespace {

using base::ErrorCode;
using test::DriverBuffer;
using test::load_state;
using test::MockDriver;
using Code = std::vector<u8>;

constexpr u32 kMemory = 4u << 20;
constexpr u32 kMain = 0x10000, kTimerHandler = 0x10080, kSerialHandler = 0x100A0;
constexpr u32 kGdt = 0x1000, kIdt = 0x2000, kStack = 0x30000;

// Counts at 0x50000: timer interrupts, serial interrupts, PIT counts, time stamps.
const Code kMainCode{
    0xFB,                                // sti
    0xF4,                                // l: hlt
    0xE4, 0x40,                          // in al,0x40
    0x0F, 0xB6, 0xC0,                    // movzx eax,al
    0x01, 0x05, 0x08, 0x00, 0x05, 0x00,  // add [0x50008],eax
    0x0F, 0x31,                          // rdtsc
    0x01, 0x05, 0x0C, 0x00, 0x05, 0x00,  // add [0x5000c],eax
    0x66, 0xBA, 0xF8, 0x03,              // mov dx,0x3f8
    0xB0, 0x2E, 0xEE,                    // mov al,'.'; out dx,al
    0x66, 0xBA, 0xA0, 0x05,              // mov dx,0x5a0
    0xB8, 0x50, 0xC3, 0x00, 0x00, 0xEF,  // mov eax,50000; out dx,eax
    0xF2, 0x0F, 0x58, 0xC1,              // addsd xmm0,xmm1
    0xD9, 0xE8,                          // fld1
    0xEB, 0xD3,                          // jmp l
};
const Code kTimerCode{
    0xFF, 0x05, 0x00, 0x00, 0x05, 0x00,        // inc dword [0x50000]
    0x50, 0xB0, 0x20, 0xE6, 0x20, 0x58, 0xCF,  // push eax; EOI; pop eax; iret
};
const Code kSerialCode{
    0x50, 0x52, 0x66, 0xBA, 0xFA, 0x03, 0xEC,  // push eax; push edx; in al,(0x3fa)
    0xFF, 0x05, 0x04, 0x00, 0x05, 0x00,        // inc dword [0x50004]
    0xB0, 0x20, 0xE6, 0x20, 0x5A, 0x58, 0xCF,  // EOI; pop edx; pop eax; iret
};

class MemoryDisk final : public BlockBackend {
 public:
  explicit MemoryDisk(u64 size) : bytes(size) {}
  u64 capacity() const override { return bytes.size(); }
  bool read_only() const override { return false; }
  base::Result<void> read(u64 offset, base::Bytes out) override {
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
    return {};
  }
  base::Result<void> write(u64 offset, base::ConstBytes from) override {
    std::copy(from.begin(), from.end(), bytes.begin() + static_cast<std::ptrdiff_t>(offset));
    return {};
  }
  base::Result<void> flush() override { return {}; }
  base::Result<void> discard(u64, u64) override { return {}; }
  std::vector<u8> bytes;
};

class Wire final : public base::FrameReceiver {
 public:
  void on_frame(base::ConstBytes frame, const base::FrameOffload&) override {
    log += "frame " + std::to_string(frame.size()) + "\n";
  }
  void on_transmit_ready() override { ++ready; }
  std::string log;
  int ready = 0;
};

class Port final : public PortBackend {
 public:
  std::size_t on_data(base::ConstBytes data) override {
    const std::size_t taken = std::min(room, data.size());
    room -= taken;
    text.append(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(taken));
    return taken;
  }
  void on_open(bool) override {}
  void on_send_ready() override {}
  std::string text;
  std::size_t room = 100;
};

struct Shape {
  u32 memory = kMemory;
  u64 disk = 1u << 20;
  bool network = true;
  std::vector<std::string> ports{"agent", "other"};
};

/// A small PC: its guest counts interrupts, and a mock driver of each device does what a script
/// says between two slices of it. Time is counted in instructions.
class SmallPc {
 public:
  explicit SmallPc(const Shape& shape = {})
      : ram(GuestRam::create(shape.memory).value()),
        disk(shape.disk),
        config(configuration(shape)),
        board(*ram, clock, config,
              {[this](bool level) { cpu->set_interrupt_line(level); }, [](SystemRequest) {}}),
        interpreter(make_cpu()) {
    clock.count_instructions(&cpu->state.instructions);
    boot();
    if (!shape.network) return;
    constexpr u32 kHeap = 0x100000;
    for (u16 i = 0; i < 4; ++i) {
      drivers.push_back(std::make_unique<MockDriver>(
          *ram, board.ports(), static_cast<u16>(0xC000 + 128 * i), kHeap + i * 0x90000u));
      drivers.back()->start();
    }
    tell_console(1);
    tell_console(2);
  }

  /// Runs slices as MachineCore does until `count` instructions are through.
  void run(u64 count) {
    const u64 end = cpu->state.instructions + count;
    while (cpu->state.instructions < end) {
      const u64 now = clock.ticks();
      board.update_timers(now);
      const u64 until = std::max<u64>(board.next_deadline(), now + 1) - now;
      const u64 budget = std::min(until, end - cpu->state.instructions);
      const StopReason reason = interpreter.run(budget);
      board.poll();
      if (reason != StopReason::kHalted || cpu->interrupt_line()) continue;
      ASSERT_NE(board.next_deadline(), Board::kNever);
      clock.skip_to(board.next_deadline());
    }
  }

  /// Something that guest or host do, chosen by `choice`.
  void act(u64 choice) {
    const u32 size = static_cast<u32>(choice >> 8 & 0xFFF) + 14;
    switch (choice % 8) {
      case 0:
      case 1:
        request_disk(choice >> 20 & 63, choice % 8 == 1);
        break;
      case 2:
        add(1, 1, {{buffer(1), size + 12, false}}, (choice >> 32 & 1) != 0);
        break;
      case 3:
        add(1, 0, {{buffer(1), 2048, true}}, (choice >> 32 & 1) != 0);
        break;
      case 4:
        wire.log += board.network()->transmit(std::vector<u8>(size), {}) ? "sent\n" : "refused\n";
        break;
      case 5:
        add(2, static_cast<u16>(5 + 2 * (choice >> 40 & 1)), {{buffer(2), size, false}}, true);
        break;
      case 6:
        add(2, 4, {{buffer(2), 64, true}}, true);
        port.room += 3000;
        port.text += std::to_string(board.console()->send(0, std::vector<u8>(size)));
        break;
      default:
        add(3, 0, {{buffer(3), 16, true}}, true);
        board.uart().receive(std::vector<u8>{'x'});
        board.ports().out(0x70, 1, choice >> 8 & 0x7F);
        board.ports().out(0x71, 1, choice >> 16 & 0xFF);
        if ((choice >> 24 & 3) == 0) take_interrupts();
    }
  }

  [[nodiscard]] std::vector<u8> save() { return save_state(cpu->state, clock, board); }
  base::Result<void> load(base::ConstBytes archive) {
    if (auto loaded = load_state(archive, cpu->state, clock, board); !loaded) return loaded;
    cpu->state_replaced();
    return {};
  }
  [[nodiscard]] std::vector<u8> memory() const {
    std::vector<u8> bytes;
    for (u32 page = 0; page < kMemory; page += kPageSize) {
      const base::ConstBytes part = ram->read(page, kPageSize);
      bytes.insert(bytes.end(), part.begin(), part.end());
    }
    return bytes;
  }
  void set_memory(base::ConstBytes bytes) {
    for (u32 page = 0; page < kMemory; page += kPageSize) {
      std::copy_n(bytes.begin() + page, kPageSize, ram->write(page, kPageSize).begin());
    }
  }

  /// Leaves nothing as it was.
  void wreck() {
    for (u16 i = 0; i < 4; ++i)
      board.ports().out(static_cast<u16>(0xC000 + 128 * i + 18), 1, 0);
    for (u32 at = 0; at < 8; ++at) {
      board.ports().out(static_cast<u16>(0x3F8 + at), 1, 0x5A + at);
      board.ports().out(0xCF8, 4, u32{1} << 31 | (at + 1) << 11 | 0x10);
      board.ports().out(0xCFC, 4, 0xD000 + 0x100 * at);
    }
    constexpr u16 kPorts[] = {0x20, 0x21, 0xA0, 0xA1, 0x4D0, 0x43, 0x40, 0x41, 0x61, 0x70, 0x71};
    for (const u16 at : kPorts)
      board.ports().out(at, 1, 0x35);
    board.ports().out(0x5A0, 4, 12345);
    board.uart().receive(std::vector<u8>(50, 'w'));
    cpu->state.gpr.fill(7);
    cpu->state.gpr[kRegZero] = 0;
    cpu->state.halted = false;
    cpu->state.flags.set(kArithmeticFlags);
    cpu->state.xmm.fill({});
    cpu->state.mxcsr = 0x1F80;
    cpu->state.tsc_offset = 99;
    clock.skip_to(clock.ticks() + 1'000'000'000);
    board.update_timers(clock.ticks());
    std::vector<u8> noise(kMemory);
    base::SeededRandom(7).fill(noise);
    set_memory(noise);
  }

  std::unique_ptr<GuestRam> ram;
  base::ManualClock host_clock;
  base::SeededRandom random{1};
  GuestClock clock{host_clock};
  MemoryDisk disk;
  Wire wire;
  Port port;
  std::string serial;
  MachineConfig config;
  std::optional<Cpu> cpu;
  Board board;
  Interpreter interpreter;
  std::vector<std::unique_ptr<MockDriver>> drivers;  // disk, network, console, entropy

 private:
  MachineConfig configuration(const Shape& shape) {
    MachineConfig made;
    made.disks = {{&disk, "small"}};
    if (shape.network) made.network = &wire;
    for (const std::string& name : shape.ports)
      made.ports.push_back({name, &port});
    made.clock = &host_clock;
    made.random = &random;
    made.serial_output = [this](base::ConstBytes data) { serial.append(data.begin(), data.end()); };
    return made;
  }
  Cpu& make_cpu() { return cpu.emplace(*ram, board.ports(), board.pic(), clock); }

  void put(u32 address, const Code& bytes) {
    const base::Bytes to = ram->write(address, static_cast<u32>(bytes.size()));
    std::copy(bytes.begin(), bytes.end(), to.begin());
  }
  void put_gate(u8 vector, u32 handler) {
    const base::Bytes gate = ram->write(kIdt + 8u * vector, 8);
    base::store_le<u32>(&gate[0], (handler & 0xFFFF) | 0x10 << 16);
    base::store_le<u32>(&gate[4], (handler & 0xFFFF0000) | 0x8E00);
  }

  /// What firmware and a kernel would have set up: segments, handlers, PIC, PIT.
  void boot() {
    enter_linux(cpu->state, kMain);
    cpu->state.gdtr = {kGdt, 0xFF};
    cpu->state.idtr = {kIdt, 0x7FF};
    cpu->state.cr4 = kCr4Osfxsr | kCr4Osxmmexcpt;
    cpu->state.gpr[kEsp] = kStack;
    cpu->state.xmm[1].bytes[7] = 0x3F;
    const base::Bytes code_segment = ram->write(kGdt + 0x10, 8);
    base::store_le<u64>(&code_segment[0], 0x00CF9B000000FFFF);
    put(kMain, kMainCode);
    put(kTimerHandler, kTimerCode);
    put(kSerialHandler, kSerialCode);
    put_gate(0x20, kTimerHandler);
    put_gate(0x24, kSerialHandler);
    for (const auto& [at, value] :
         std::initializer_list<std::pair<u16, u32>>{{0x20, 0x11},
                                                    {0x21, 0x20},
                                                    {0x21, 4},
                                                    {0x21, 1},
                                                    {0x21, 0xEE},  // lines 0 and 4
                                                    {0x43, 0x34},
                                                    {0x40, 0x9C},
                                                    {0x40, 0x2E},
                                                    {0x3F9, 3}}) {
      board.ports().out(at, 1, value);
    }
    cpu->state_replaced();
  }

  u32 buffer(std::size_t device) { return 0x180000 + static_cast<u32>(device) * 0x90000 + 0x80000; }
  void add(std::size_t device, u16 queue, const std::vector<DriverBuffer>& buffers, bool kick) {
    drivers[device]->queue(queue).add(buffers);
    if (kick) drivers[device]->kick(queue);
  }
  void tell_console(u8 port_number) {
    for (const u8 event : {u8{3}, u8{6}}) {  // ready, open
      drivers[2]->put(buffer(2), Code{port_number, 0, 0, 0, event, 0, 1, 0});
      add(2, 3, {{buffer(2), 8, false}}, true);
    }
  }
  void request_disk(u64 sector, bool write) {
    Code header(16);
    header[0] = write ? 1 : 0;
    header[8] = static_cast<u8>(sector);
    drivers[0]->put(buffer(0), header);
    add(0, 0, {{buffer(0), 16, false}, {buffer(0) + 512, 512, !write}, {buffer(0) + 4096, 1, true}},
        sector % 3 != 0);
  }
  void take_interrupts() {
    for (const auto& driver : drivers)
      static_cast<void>(driver->take_interrupt());
  }
};

struct Trace {
  std::vector<std::vector<u8>> states;
  std::vector<u8> memory;
  std::string outside;
};

constexpr int kSteps = 120;

/// Runs the script of `seed`, and at step `save_at` saves, wrecks and restores the machine.
Trace trace(u64 seed, int save_at) {
  SmallPc pc;
  base::SeededRandom script(seed);
  Trace result;
  for (int step = 0; step < kSteps; ++step) {
    pc.act(script.next());
    pc.run(script.next() % 600);
    if (step == save_at) {
      const std::vector<u8> state = pc.save();
      const std::vector<u8> memory = pc.memory();
      pc.board.uart().flush();
      const std::string serial = pc.serial;
      pc.wreck();
      pc.set_memory(memory);
      EXPECT_TRUE(pc.load(state).ok());
      pc.serial = serial;  // what the wreck had to say
      EXPECT_TRUE(pc.save() == state);
      EXPECT_TRUE(pc.memory() == memory);
    }
    result.states.push_back(pc.save());
  }
  result.memory = pc.memory();
  pc.board.uart().flush();
  result.outside = pc.wire.log + pc.port.text + pc.serial;
  return result;
}

TEST(MachineState, ARestoredMachineDoesWhatItWouldHaveDone) {
  for (u64 seed = 1; seed <= 4; ++seed) {
    const Trace expected = trace(seed, -1);
    EXPECT_GT(expected.outside.size(), 100u);
    for (int save_at = static_cast<int>(seed); save_at < kSteps; save_at += 9) {
      const Trace restored = trace(seed, save_at);
      for (int step = 0; step < kSteps; ++step) {
        const auto at = static_cast<std::size_t>(step);
        ASSERT_TRUE(restored.states[at] == expected.states[at])
            << "seed " << seed << ", saved at " << save_at << ", differs at " << step;
      }
      ASSERT_TRUE(restored.outside == expected.outside)
          << "seed " << seed << ", saved at " << save_at;
      ASSERT_TRUE(restored.memory == expected.memory)
          << "seed " << seed << ", saved at " << save_at;
    }
  }
}

TEST(MachineState, TheGuestOfTheseTestsIsBusy) {
  SmallPc pc;
  pc.run(20'000);
  for (u32 counter = 0x50000; counter < 0x50010; counter += 4) {
    EXPECT_GT(base::load_le<u32>(pc.ram->read(counter, 4).data()), 100u) << counter;
  }
}

TEST(MachineState, GoesOnInAnotherMachine) {
  SmallPc first;
  for (u64 i = 0; i < 50; ++i) {
    first.act(i * 0x9E3779B97F4A7C15);
    first.run(300);
  }
  SmallPc second;
  second.set_memory(first.memory());
  ASSERT_TRUE(second.load(first.save()).ok());
  EXPECT_TRUE(second.save() == first.save());
  first.run(5000);
  second.run(5000);
  EXPECT_TRUE(second.save() == first.save());
  EXPECT_TRUE(second.memory() == first.memory());
}

TEST(MachineState, TheHostHearsOfARestoreWithTheNextPollAndNotBefore) {
  SmallPc pc;
  const std::vector<u8> state = pc.save();
  pc.wire.ready = 0;
  ASSERT_TRUE(pc.load(state).ok());
  EXPECT_EQ(pc.wire.ready, 0);
  pc.board.poll();
  EXPECT_EQ(pc.wire.ready, 1);
  EXPECT_FALSE(pc.board.network()->transmit(std::vector<u8>(60), {})) << "there is no buffer";
  pc.drivers[1]->queue(0).add({{0x3F0000, 2048, true}});
  pc.drivers[1]->kick(0);
  EXPECT_EQ(pc.wire.ready, 2);
}

TEST(MachineState, EveryTruncationIsRefusedAndChangesNothing) {
  SmallPc pc;
  pc.act(6);
  pc.run(3000);
  const std::vector<u8> state = pc.save();
  for (std::size_t length = 0; length < state.size(); ++length) {
    const auto loaded = pc.load(base::ConstBytes(state).first(length));
    ASSERT_FALSE(loaded.ok()) << length;
    ASSERT_EQ(loaded.error().code, ErrorCode::kCorrupt) << loaded.error().message;
  }
  EXPECT_TRUE(pc.save() == state);
  std::vector<u8> longer = state;
  longer.push_back(0);
  EXPECT_FALSE(pc.load(longer).ok());
}

TEST(MachineState, EveryFlippedBitIsRefusedOrMakesAnotherGoodState) {
  SmallPc pc;
  for (u64 i = 0; i < 30; ++i) {
    pc.act(i);
    pc.run(200);
  }
  const std::vector<u8> state = pc.save();
  for (std::size_t at = 0; at < state.size(); ++at) {
    for (std::size_t bit = at % 3; bit < 8; bit += 3) {
      std::vector<u8> flipped = state;
      flipped[at] ^= static_cast<u8>(1u << bit);
      if (pc.load(flipped).ok()) {
        ASSERT_TRUE(pc.save() == flipped) << at << ", " << bit;
      }
    }
  }
  ASSERT_TRUE(pc.load(state).ok());
  EXPECT_TRUE(pc.save() == state);
}

TEST(MachineState, OfAnotherMachineIsRefusedWithTheDifference) {
  SmallPc pc;
  const auto refusal = [&](const Shape& shape) {
    SmallPc other(shape);
    const auto loaded = pc.load(other.save());
    EXPECT_FALSE(loaded.ok());
    EXPECT_EQ(loaded.error().code, ErrorCode::kInvalidArgument);
    return loaded.error().message;
  };
  EXPECT_NE(refusal({.memory = 8u << 20}).find("8388608 bytes of memory"), std::string::npos);
  EXPECT_NE(refusal({.disk = 2u << 20}).find("a disk of 2097152 bytes instead"), std::string::npos);
  EXPECT_NE(refusal({.ports = {"agent"}}).find("console ports agent instead"), std::string::npos);
  EXPECT_NE(refusal({.network = false}).find("instead of a network card"), std::string::npos);
  std::vector<u8> newer = pc.save();
  ++newer[4];
  EXPECT_EQ(pc.load(newer).error().code, ErrorCode::kUnsupported);
}

TEST(MachineState, OfASmallerDiskGoesOnAndItsDriverIsTold) {
  constexpr u32 kCapacity = 0;
  SmallPc before({.disk = 1u << 19});
  SmallPc now;
  ASSERT_TRUE(now.load(now.save()).ok());
  now.board.poll();
  EXPECT_EQ(now.drivers[0]->take_interrupt() & 2, 0) << "nothing has changed";
  ASSERT_TRUE(now.load(before.save()).ok());
  EXPECT_EQ(now.drivers[0]->config(kCapacity, 4), (1u << 20) / 512);
  now.board.poll();
  EXPECT_EQ(now.drivers[0]->take_interrupt() & 2, 2);
  EXPECT_FALSE(before.load(now.save()).ok()) << "a disk does not shrink";
}

TEST(MachineState, RegistersThatNoProcessorOfOursHasAreRefused) {
  SmallPc pc;
  const std::vector<std::pair<const char*, void (*)(CpuState&)>> cases{
      {"cpl", [](CpuState& cpu) { cpu.cpl = 4; }},
      {"cpl of CS", [](CpuState& cpu) { cpu.cpl = 3; }},
      {"real mode", [](CpuState& cpu) { cpu.cr0 &= ~u32{kCr0Pe}; }},
      {"CR0", [](CpuState& cpu) { cpu.cr0 |= 1u << 8; }},
      {"CR0.NW", [](CpuState& cpu) { cpu.cr0 |= kCr0Nw; }},
      {"CR4", [](CpuState& cpu) { cpu.cr4 |= 1u << 5; }},
      {"EFLAGS", [](CpuState& cpu) { cpu.eflags |= 1u << 3; }},
      {"EFLAGS.VM", [](CpuState& cpu) { cpu.eflags |= kFlagVm; }},
      {"DR7", [](CpuState& cpu) { cpu.dr[7] = 0; }},
      {"DR4", [](CpuState& cpu) { cpu.dr[4] = 1; }},
      {"MXCSR", [](CpuState& cpu) { cpu.mxcsr |= 1u << 16; }},
      {"CS is data", [](CpuState& cpu) { cpu.segment[kCs] = cpu.segment[kDs]; }},
      {"SS is null", [](CpuState& cpu) { cpu.segment[kSs] = {}; }},
      {"SS is code", [](CpuState& cpu) { cpu.segment[kSs].attributes |= kSegCode; }},
      {"DS is absent", [](CpuState& cpu) { cpu.segment[kDs].attributes ^= kSegPresent; }},
      {"attributes", [](CpuState& cpu) { cpu.segment[kDs].attributes ^= 1 << 12; }},
      {"limit", [](CpuState& cpu) { cpu.segment[kDs].limit = 0x12345; }},
      {"TR is data", [](CpuState& cpu) { cpu.tr = cpu.segment[kDs]; }},
      {"LDTR is data", [](CpuState& cpu) { cpu.ldtr = cpu.segment[kDs]; }},
      {"instructions", [](CpuState& cpu) { cpu.instructions = u64{1} << 63; }},
  };
  for (const auto& [name, change] : cases) {
    CpuState cpu = pc.cpu->state;
    change(cpu);
    GuestClock clock(pc.host_clock);
    const auto loaded = pc.load(save_state(cpu, clock, pc.board));
    ASSERT_FALSE(loaded.ok()) << name;
    EXPECT_EQ(loaded.error().code, ErrorCode::kCorrupt) << name;
  }
}

TEST(MachineState, IsTheSameInWhateverFormFlagsAndTagsAreKept) {
  SmallPc pc;
  const std::vector<u8> before = pc.save();
  pc.cpu->state.flags.set(pc.cpu->state.flags.get());
  pc.cpu->state.gpr[kRegScratch] = 1234;
  EXPECT_TRUE(pc.save() == before);
}

TEST(GuestClock, GoesOnFromATimeThatIsSet) {
  base::ManualClock host;
  GuestClock clock(host);
  clock.set(500);
  EXPECT_EQ(clock.ticks(), 500u);
  clock.run();
  host.advance(base::Nanoseconds(20));
  EXPECT_EQ(clock.ticks(), 520u);
  clock.set(100);  // while it runs
  host.advance(base::Nanoseconds(7));
  EXPECT_EQ(clock.ticks(), 107u);
  u64 instructions = 1000;
  clock.count_instructions(&instructions);
  clock.set(30);
  instructions += 5;
  EXPECT_EQ(clock.ticks(), 35u);
}

}  // namespace
}  // namespace snowglobe::vm
