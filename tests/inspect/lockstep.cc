// tests/inspect/lockstep.cc - snowglobe_lockstep: boots two machines, one on the translator and one
// on the interpreter, and stops at the first difference.
//
// The translator leads: it runs until it stops by itself (after a block, or when it is called to
// attention), the interpreter follows to the same count of instructions, and the states are
// compared. Time stands still while they run, and interrupts reach both where they were compared,
// so that what the leader does by chance is no difference.
#include "api/src/disks.h"
#include "base/clock.h"
#include "base/random.h"
#include "tests/inspect/dump.h"
#include "tests/inspect/symbols.h"
#include "tests/support/read_file.h"
#include "vm/attention_ticker.h"
#include "vm/boot/linux.h"
#include "vm/cpu/translator/host_faults.h"
#include "vm/cpu/translator/translator.h"
#include "vm/machine_board.h"
#include "vm/machine_clock.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstring>
#include <deque>
#include <fmt/format.h>

namespace {

using namespace snowglobe;
using namespace snowglobe::vm;

struct Options {
  std::string image = "build/guest";
  std::string append;
  unsigned memory_mib = 128;
  u64 instructions = 200'000'000;
  bool chained = false;
  bool trace = false;
  unsigned max_insns = 64;
  unsigned cold_runs = 0;
  u64 ram_every = 20'000'000;
};

template <class T>
T must(base::Result<T> result) {
  if (!result) {
    fmt::print(stderr, "snowglobe_lockstep: {}\n", result.error().message);
    std::exit(1);
  }
  return std::move(result).value();
}

std::vector<std::uint8_t> must_read(const std::string& path) {
  auto bytes = test::read_file(path);
  if (!bytes) {
    fmt::print(stderr, "snowglobe_lockstep: can not open '{}'\n", path);
    std::exit(1);
  }
  return *std::move(bytes);
}

class DeafPort final : public PortBackend {
 public:
  std::size_t on_data(base::ConstBytes data) override { return data.size(); }
  void on_open(bool) override {}
  void on_send_ready() override {}
};

class DeadNetwork final : public base::FrameReceiver {
 public:
  void on_frame(base::ConstBytes, const base::FrameOffload&) override {}
  void on_transmit_ready() override {}
};

/// One of the two machines. Interrupts and time come from outside.
struct Rig {
  Rig(const Options& options, const std::vector<std::uint8_t>& kernel, const u64& now, bool loud)
      : ram(must(GuestRam::create(u64{options.memory_mib} << 20))), clock(still) {
    const std::string folder = options.image + "/";
    constexpr u64 kLimit = u64{1} << 30;
    disks.push_back(must(detail::FileDisk::open(folder + "root.erofs")));
    disks.push_back(std::make_unique<detail::OverlayDisk>(
        must(detail::SparseDisk::unpack(must_read(folder + "cluster.disk.zst"), kLimit)), 0));
    clock.count_instructions(&now);
    config.random = &random;
    config.clock = &still;
    config.network = &network;
    config.ports.push_back({"snowglobe.agent", &port});
    for (const auto& disk : disks)
      config.disks.push_back({disk.get(), "snowglobe"});
    if (loud) {
      config.serial_output = [](base::ConstBytes data) {
        std::fwrite(data.data(), 1, data.size(), stdout);
      };
    } else {
      config.serial_output = [](base::ConstBytes) {};
    }
    board = std::make_unique<Board>(*ram, clock, config,
                                    Board::Wiring{[this](bool asserted) { line = asserted; },
                                                  [this](SystemRequest) { request = true; }});
    cpu = std::make_unique<Cpu>(*ram, board->ports(), board->pic(), clock);
    interpreter = std::make_unique<Interpreter>(*cpu);
    const auto entry = must(load_linux(
        *ram, {.kernel = kernel,
               .command_line = "console=ttyS0 root=/dev/vda ro rootfstype=erofs init=/sbin/init "
                               "tsc=reliable reboot=t panic=-1 norandmaps "
                               "random.trust_bootloader=on " +
                               options.append,
               .random = &random}));
    cpu->reset();
    enter_linux(cpu->state, entry);
    cpu->state_replaced();
  }

  base::ManualClock still;
  base::SeededRandom random{1};
  DeafPort port;
  DeadNetwork network;
  MachineConfig config;
  std::vector<std::unique_ptr<BlockBackend>> disks;
  std::unique_ptr<GuestRam> ram;
  GuestClock clock;
  bool line = false;  ///< of the interrupt controller, as it is now
  bool request = false;
  std::unique_ptr<Board> board;
  std::unique_ptr<Cpu> cpu;
  std::unique_ptr<Interpreter> interpreter;
};

/// True if two words are EFLAGS that somebody saved, and only arithmetic flags differ: some
/// instructions leave them undefined (AF behind a shift), and PUSHF shows what a maker chose.
bool are_saved_flags(u32 left, u32 right) {
  constexpr u32 kNeverSet = 0xFFC0'8028;
  return ((left ^ right) & ~kArithmeticFlags) == 0 && (left & kFlagReserved1) != 0 &&
         (left & kNeverSet) == 0;
}

/// True if a word that differs can be FIP, FOP and FCS, FDP or FDS in a place where x87 state was
/// saved (FXSAVE's area, or the frame of a signal): the translator stores zeros.
bool can_be_x87_place(u32 left, u32 right) {
  return (left & (left ^ right)) == 0;
}

/// What of two states differs, in words; empty if nothing does. Arithmetic flags apart: an
/// instruction may leave them undefined.
std::string difference(const CpuState& a, const CpuState& b) {
  std::string text;
  const auto check = [&text](const char* name, auto left, auto right) {
    if (left != right) text += fmt::format("  {}: {:x}, {:x}\n", name, left, right);
  };
  static constexpr std::array<const char*, 8> kNames = {"eax", "ecx", "edx", "ebx",
                                                        "esp", "ebp", "esi", "edi"};
  check("eip", a.eip, b.eip);
  for (unsigned i = 0; i < 8; ++i)
    check(kNames[i], a.gpr[i], b.gpr[i]);
  check("system flags", a.eflags & ~kArithmeticFlags, b.eflags & ~kArithmeticFlags);
  check("cpl", a.cpl, b.cpl);
  check("cr0", a.cr0, b.cr0);
  check("cr2", a.cr2, b.cr2);
  check("cr3", a.cr3, b.cr3);
  check("cr4", a.cr4, b.cr4);
  for (unsigned i = 0; i < 6; ++i) {
    check("selector", a.segment[i].selector, b.segment[i].selector);
    check("segment base", a.segment[i].base, b.segment[i].base);
  }
  check("x87 control", a.x87.control, b.x87.control);
  check("x87 status", a.x87.status, b.x87.status);
  check("x87 tags", a.x87.tag, b.x87.tag);
  check("mxcsr", a.mxcsr, b.mxcsr);
  for (unsigned i = 0; i < 8; ++i) {
    check("x87 significand", a.x87.physical[i].significand, b.x87.physical[i].significand);
    check("x87 exponent", a.x87.physical[i].sign_exponent, b.x87.physical[i].sign_exponent);
    if (a.xmm[i] != b.xmm[i]) text += fmt::format("  xmm{}\n", i);
  }
  return text;
}

class Lockstep {
 public:
  explicit Lockstep(const Options& options)
      : options_(options),
        kernel_(must_read(options.image + "/vmlinux")),
        symbols_(inspect::SymbolFile::load_map(options.image + "/System.map")),
        leader_(options, kernel_, now_, true),
        follower_(options, kernel_, now_, false),
        translator_(must(Translator::create(*leader_.cpu, *leader_.interpreter,
                                            {.cold_runs = options.cold_runs,
                                             .max_insns = options.max_insns,
                                             .count_instructions = true,
                                             .unchained = !options.chained}))),
        ticker_(leader_.cpu->context.attention) {}

  /// True if there was no difference.
  bool run();

 private:
  StopReason lead();
  bool follow();
  bool same_memory();
  bool same_page(u32 page);
  void settle_saved_flags();
  bool meet(StopReason reason);
  void deliver_time();
  void report(const std::string& what);
  std::string place(const CpuState& state) const;

  Options options_;
  std::vector<std::uint8_t> kernel_;
  std::shared_ptr<const inspect::SymbolFile> symbols_;
  u64 now_ = 0;  ///< guest time: instructions, and what was slept through
  u64 skipped_ = 0;
  Rig leader_;
  Rig follower_;
  std::unique_ptr<Translator> translator_;
  AttentionTicker ticker_;
  std::deque<u32> path_;  ///< where the leader started, most recent last
  u64 meetings_ = 0;
  u64 flag_differences_ = 0;
  u64 memory_checked_at_ = 0;
};

StopReason Lockstep::lead() {
  constexpr std::size_t kPath = 24;
  const CpuState& state = leader_.cpu->state;
  path_.push_back(state.eip);
  if (path_.size() > kPath) path_.pop_front();
  if (options_.trace) fmt::print("{:12} {}\n", state.instructions, place(state));
  if (options_.chained) ticker_.arm(200'000);
  const StopReason reason = translator_->run();
  if (options_.chained) ticker_.disarm();
  leader_.cpu->clear_attention();
  translator_->synchronize();
  return reason;
}

// The leader may be behind an exception's delivery, which is no instruction.
bool Lockstep::follow() {
  CpuState& a = leader_.cpu->state;
  CpuState& b = follower_.cpu->state;
  if (b.instructions < a.instructions) {
    follower_.interpreter->run_exactly(a.instructions - b.instructions);
  }
  settle_saved_flags();
  std::string what = difference(a, b);
  for (int i = 0; i < 4 && !what.empty() && a.instructions == b.instructions; ++i) {
    const CpuState before = b;
    follower_.interpreter->step();
    if (options_.trace) {
      fmt::print("  (catching up from {:08x}, ecx {:x} edi {:x}, to {:08x}, ecx {:x} edi {:x})\n",
                 before.eip, before.gpr[kEcx], before.gpr[kEdi], b.eip, b.gpr[kEcx], b.gpr[kEdi]);
    }
    if (b.instructions != before.instructions) {
      fmt::print("(the interpreter is shown behind an instruction more)\n");
      what = difference(a, before);
      break;
    }
    settle_saved_flags();
    what = difference(a, b);
  }
  if (a.instructions != b.instructions) {
    what += fmt::format("  instructions: {}, {}\n", a.instructions, b.instructions);
  }
  if (!what.empty()) {
    report(what);
    return false;
  }
  if (a.flags.get() != b.flags.get()) {
    ++flag_differences_;
    b.flags.set(a.flags.get());
  }
  // The translator does not keep these (docs/translator-tools.md).
  b.x87.ip = a.x87.ip;
  b.x87.dp = a.x87.dp;
  b.x87.cs = a.x87.cs;
  b.x87.ds = a.x87.ds;
  b.x87.opcode = a.x87.opcode;
  return true;
}

void Lockstep::settle_saved_flags() {
  for (unsigned i = 0; i < 8; ++i) {
    u32& ours = follower_.cpu->state.gpr[i];
    const u32 theirs = leader_.cpu->state.gpr[i];
    if (ours == theirs || !are_saved_flags(theirs, ours)) continue;
    ours = theirs;
    ++flag_differences_;
  }
}

bool Lockstep::same_page(u32 page) {
  const u8* const a = leader_.ram->host_page(page);
  u8* const b = follower_.ram->host_page(page);
  if (std::memcmp(a, b, kPageSize) == 0) return true;
  constexpr unsigned kMaxPlaces = 16;  // of one page
  unsigned words = 0;
  unsigned places = 0;
  for (u32 i = 0; i < kPageSize; i += 4) {
    const u32 left = base::load_le<u32>(a + i);
    const u32 right = base::load_le<u32>(b + i);
    if (left == right) continue;
    if (are_saved_flags(left, right) || (can_be_x87_place(left, right) && ++places <= kMaxPlaces)) {
      base::store_le(b + i, left);
      ++flag_differences_;
      continue;
    }
    constexpr unsigned kShown = 4;
    if (++words > kShown) continue;
    fmt::print("  physical {:08x}: {:08x}, {:08x}\n", (page << kPageShift) + i, left, right);
  }
  return words == 0;
}

bool Lockstep::same_memory() {
  unsigned pages = 0;
  for (u32 page = 0; page < leader_.ram->page_count(); ++page) {
    if (!same_page(page)) ++pages;
  }
  if (pages == 0) return true;
  report(fmt::format("  {} pages of memory\n", pages));
  return false;
}

// The translator does not keep the shadow of an STI that it had no reason to: while the interpreter
// is in it, no interrupt comes.
void Lockstep::deliver_time() {
  const bool held = leader_.cpu->state.interrupt_shadow || follower_.cpu->state.interrupt_shadow;
  for (Rig* rig : {&leader_, &follower_}) {
    rig->board->update_timers(now_);
    rig->board->poll();
    rig->board->uart().flush();
    rig->cpu->set_interrupt_line(rig->line && !held);
  }
}

bool Lockstep::meet(StopReason reason) {
  now_ = leader_.cpu->state.instructions + skipped_;
  deliver_time();
  if (leader_.line != follower_.line) {
    report("  the interrupt line\n");
    return false;
  }
  if (reason == StopReason::kHalted && !leader_.line) {
    const u64 deadline = leader_.board->next_deadline();
    if (deadline == Board::kNever) {
      fmt::print("the guest waits for ever\n");
      leader_.request = true;
      return true;
    }
    if (deadline > now_) skipped_ += deadline - now_;
    now_ = leader_.cpu->state.instructions + skipped_;
    deliver_time();
  }
  if (now_ - memory_checked_at_ < options_.ram_every) return true;
  memory_checked_at_ = now_;
  return same_memory();
}

bool Lockstep::run() {
  const auto stack = must(SignalStack::create());
  const auto begin = std::chrono::steady_clock::now();
  bool same = true;
  while (same && !leader_.request && leader_.cpu->state.instructions < options_.instructions) {
    const StopReason reason = lead();
    ++meetings_;
    same = follow() && meet(reason);
    if (reason == StopReason::kTripleFault) break;
  }
  same = same && same_memory();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  fmt::print(
      "\n{}: {} instructions, compared {} times, arithmetic flags differed {} times; {:.1f} s\n",
      same ? "no difference" : "DIFFERENCE", leader_.cpu->state.instructions, meetings_,
      flag_differences_, took.count());
  return same;
}

std::string Lockstep::place(const CpuState& state) const {
  return fmt::format("{:08x} cpl {} {}", state.eip, state.cpl,
                     state.cpl == 0 ? symbols_->name_at(state.eip) : std::string());
}

void Lockstep::report(const std::string& what) {
  const CpuState& state = leader_.cpu->state;
  fmt::print("\n== after {} instructions (left the translator, right the interpreter)\n{}",
             state.instructions, what);
  for (const Rig* rig : {&leader_, &follower_}) {
    fmt::print("registers     ");
    for (unsigned i = 0; i < 8; ++i)
      fmt::print(" {:08x}", rig->cpu->state.gpr[i]);
    fmt::print("\n");
  }
  fmt::print("translator at  {}\ninterpreter at {}\nlast starts of the translator:\n", place(state),
             place(follower_.cpu->state));
  for (const u32 eip : path_)
    fmt::print("  {:08x} {}\n", eip, symbols_->name_at(eip));
  for (const auto& block : translator_->blocks_at(path_.back()))
    fmt::print("{}", inspect::dump(block));
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Runs translator and interpreter side by side to the first difference");
  app.add_option("--image", options.image, "folder of the guest image");
  app.add_option("--append", options.append, "more words for the kernel's command line");
  app.add_option("--memory", options.memory_mib, "MiB of RAM");
  app.add_option("--instructions", options.instructions, "how many to run");
  app.add_option("--max-insns", options.max_insns, "instructions of a block at most");
  app.add_option("--cold-runs", options.cold_runs, "runs of a block before it is translated");
  app.add_option("--ram-every", options.ram_every, "instructions between comparisons of memory");
  app.add_flag("--chained", options.chained, "link blocks; compare every 0.2 ms");
  app.add_flag("--trace", options.trace, "print where each run starts");
  CLI11_PARSE(app, argc, argv);
  return Lockstep(options).run() ? 0 : 1;
}
