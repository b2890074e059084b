// tests/cpu/privileged/executors.cc - the payload in our interpreter, and in Bochs by a ROM image.
#include "tests/cpu/privileged/executors.h"

#include "tests/cpu/privileged/layout.h"
#include "vm/cpu/cpu.h"
#include "vm/cpu/interpreter.h"
#include "vm/cpu/translator/host_faults.h"
#include "vm/cpu/translator/translator.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>

namespace snowglobe::vm::privileged {
namespace {

// A parallel port that keeps what is strobed out, and the port at which the runner says good-bye.
class ParallelPort final : public PortBus {
 public:
  u32 in(u16 /*port*/, unsigned /*size*/) override { return ~0u; }
  void out(u16 port, unsigned /*size*/, u32 value) override {
    if (port == 0x378) data_ = static_cast<u8>(value);
    if (port == 0x37A && (value & 1) != 0) bytes.push_back(data_);
    if (port == 0x8900) cpu->request_attention();
  }
  Cpu* cpu = nullptr;
  std::vector<u8> bytes;

 private:
  u8 data_ = 0;
};

struct NoInterrupts final : InterruptController {
  u8 acknowledge() override { return 0xFF; }
};

struct StoppedClock final : TscSource {
  u64 ticks() override { return 0; }
};

void write_file(const std::string& path, const std::vector<u8>& bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}

constexpr std::size_t kRomSize = 1u << 20;

// The smallest option ROM: Bochs wants one for its graphics card.
std::vector<u8> empty_option_rom() {
  std::vector<u8> rom(512, 0);
  rom[0] = 0x55;
  rom[1] = 0xAA;
  rom[2] = 1;
  rom[3] = 0xCB;  // RETF
  u8 sum = 0;
  for (const u8 byte : rom)
    sum = static_cast<u8>(sum + byte);
  rom[511] = static_cast<u8>(0 - sum);
  return rom;
}

// The processor grants at least what ours does. No time passes but by instructions.
constexpr const char* kConfiguration = R"(display_library: term
romimage: file=rom.bin, address=0xfff00000
vgaromimage: file=vga.bin
cpu: model=p3_katmai, count=1, ips=100000000, reset_on_triple_fault=0
memory: guest=16, host=16
clock: sync=none, time0=0
parport1: enabled=1, file=out.bin
log: bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
speaker: enabled=0
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
)";

}  // namespace

std::vector<u8> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<u8> run_here(const std::vector<u8>& payload, bool translated) {
  const auto ram = GuestRam::create(kMemory).value();
  ParallelPort port;
  NoInterrupts interrupts;
  StoppedClock clock;
  Cpu cpu(*ram, port, interrupts, clock);
  Interpreter interpreter(cpu);
  port.cpu = &cpu;
  const base::Bytes to = ram->write(kPayload, static_cast<u32>(payload.size()));
  std::copy(payload.begin(), payload.end(), to.begin());
  for (u8 segment = kEs; segment <= kGs; ++segment) {
    const bool code = segment == kCs;
    cpu.state.segment[segment] = {code ? code_selector(0) : data_selector(0),
                                  static_cast<u16>(code ? 0xC9B : 0xC93), 0, ~0u};
  }
  cpu.state.cr0 = kCr0Pe | kCr0Et;
  cpu.state.eip = kPayload;
  cpu.state_replaced();
  if (translated) {
    TranslatorOptions options;
    options.code_bytes = std::size_t{16} << 20;
    options.cold_runs = 0;
    const auto stack = SignalStack::create().value();
    Translator::create(cpu, interpreter, options).value()->run();
    return port.bytes;
  }
  constexpr u64 kLimit = 4'000'000'000;
  interpreter.run(kLimit);
  return port.bytes;
}

base::Result<std::vector<u8>> run_in_bochs(const std::vector<u8>& payload,
                                           const std::vector<u8>& reset_code,
                                           const std::string& folder) {
  std::vector<u8> rom(kRomSize, 0);
  std::copy(payload.begin(), payload.end(), rom.begin());
  std::copy(reset_code.begin(), reset_code.end(),
            rom.end() - static_cast<std::ptrdiff_t>(reset_code.size()));
  write_file(folder + "/rom.bin", rom);
  write_file(folder + "/vga.bin", empty_option_rom());
  std::ofstream(folder + "/bochsrc") << kConfiguration;
  std::ofstream(folder + "/commands") << "c\n";  // for Bochs built with its debugger
  // Bochs draws on a terminal, so script(1) lends it one. It always ends with an error: it was told
  // to stop in the middle of the guest's work.
  const std::string command =
      "cd '" + folder +
      "' && rm -f out.bin && TERM=vt100 timeout 100 script -qec "
      "'bochs -q -f bochsrc -rc commands' /dev/null < /dev/null > screen.log 2>&1";
  static_cast<void>(std::system(command.c_str()));  // NOLINT(concurrency-mt-unsafe): one thread
  std::vector<u8> bytes = read_file(folder + "/out.bin");
  if (bytes.empty()) {
    return base::Error{base::ErrorCode::kUnavailable,
                       "Bochs reported nothing; see " + folder + "/screen.log and bochs.log"};
  }
  return bytes;
}

}  // namespace snowglobe::vm::privileged
