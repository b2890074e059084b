// tests/devices/boot.cc - snowglobe_boot: boots a kernel with disks and shows its serial console,
// with vm/ and the disks of api/, without network and agent. For whoever brings up or measures the
// machine.
#include "api/src/disks.h"
#include "base/clock.h"
#include "base/random.h"
#include "tests/support/event_loop.h"
#include "tests/support/read_file.h"
#include "vm/machine.h"

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <fmt/format.h>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace snowglobe;

struct Options {
  std::string image = "build/guest";
  std::string kernel, root, cluster;
  std::string append;
  std::string until;
  std::vector<std::string> disks;
  unsigned memory_mib = 128;
  unsigned seconds = 60;
  bool deterministic = false;
  bool quiet_port = false;
  std::string executor = "automatic";
};

/// Collects what the guest says, and notices the text that is waited for.
class Listener {
 public:
  explicit Listener(std::string until) : until_(std::move(until)) {}

  void on_output(base::ConstBytes data) {
    const std::lock_guard lock(mutex_);
    seen_.append(data.begin(), data.end());
    if (!until_.empty() && seen_.find(until_) != std::string::npos) done_ = true;
    if (seen_.size() > 8192) seen_.erase(0, 4096);
    changed_.notify_all();
  }
  void on_end(vm::MachineEnd end) {
    const std::lock_guard lock(mutex_);
    end_ = end;
    changed_.notify_all();
  }
  /// True if the text came or the machine ended in time.
  bool wait(std::chrono::seconds limit) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, limit, [this] { return done_ || end_.has_value(); });
  }
  std::optional<vm::MachineEnd> end() {
    const std::lock_guard lock(mutex_);
    return end_;
  }

 private:
  std::string until_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string seen_;
  bool done_ = false;
  std::optional<vm::MachineEnd> end_;
};

/// The agent's port: prints what comes, as far as it is text.
class PrintingPort final : public vm::PortBackend {
 public:
  PrintingPort(Listener& listener, bool quiet) : listener_(listener), quiet_(quiet) {}

  std::size_t on_data(base::ConstBytes data) override {
    listener_.on_output(data);
    if (quiet_) return data.size();
    std::string text;
    for (const std::uint8_t byte : data) {
      text += byte >= 32 && byte < 127 ? std::string(1, static_cast<char>(byte))
                                       : fmt::format("\\{:02x}", byte);
    }
    fmt::print(stderr, "[agent] {}\n", text);
    return data.size();
  }
  void on_open(bool open) override {
    if (!quiet_) fmt::print(stderr, "[agent port {}]\n", open ? "open" : "closed");
  }
  void on_send_ready() override {}

 private:
  Listener& listener_;
  bool quiet_;
};

/// A network on which nobody answers.
class DeadNetwork final : public base::FrameReceiver {
 public:
  void on_frame(base::ConstBytes, const base::FrameOffload&) override {}
  void on_transmit_ready() override {}
};

template <class T>
T must(base::Result<T> result) {
  if (!result) {
    fmt::print(stderr, "snowglobe_boot: {}\n", result.error().message);
    std::exit(1);
  }
  return std::move(result).value();
}

std::vector<std::uint8_t> must_read(const std::string& path) {
  auto bytes = test::read_file(path);
  if (!bytes) {
    fmt::print(stderr, "snowglobe_boot: can not open '{}'\n", path);
    std::exit(1);
  }
  return *std::move(bytes);
}

using Disks = std::vector<std::unique_ptr<vm::BlockBackend>>;

/// vda and vdb as the library makes them, or the files of the command line, read-only.
Disks open_disks(const Options& options) {
  Disks disks;
  for (const std::string& path : options.disks)
    disks.push_back(must(detail::FileDisk::open(path)));
  if (!disks.empty()) return disks;
  const std::string folder = options.image + "/";
  disks.push_back(
      must(detail::FileDisk::open(options.root.empty() ? folder + "root.erofs" : options.root)));
  const auto packed =
      must_read(options.cluster.empty() ? folder + "cluster.disk.zst" : options.cluster);
  constexpr vm::u64 kLimit = vm::u64{1} << 30;
  disks.push_back(
      std::make_unique<detail::OverlayDisk>(must(detail::SparseDisk::unpack(packed, kLimit)), 0));
  return disks;
}

const char* name(std::optional<vm::MachineEnd> end) {
  if (!end) return "still running";
  switch (*end) {
    case vm::MachineEnd::kStopped:
      return "stopped";
    case vm::MachineEnd::kShutDown:
      return "shut down";
    case vm::MachineEnd::kDamaged:
      return "damaged";
    case vm::MachineEnd::kReset:
      return "reset";
  }
  return "?";
}

void print_translator(const vm::MachineStatistics& s) {
  fmt::print(stderr,
             "[translator] {} blocks, {} KiB, {} flushes; exits: {} indirect, {} link, {} insn, {} "
             "vectors, {} poll; {} faults, {} of the guest, {} emulated; interpreted {} blocks, {} "
             "steps; windows: {} mappings, {} fills, {} drops, {} evictions\n",
             s.blocks_translated, s.code_bytes / 1024, s.code_flushes, s.exits_indirect,
             s.exits_link, s.exits_insn, s.exits_vectors, s.exits_poll, s.faults, s.guest_faults,
             s.emulated_accesses, s.interpreted_blocks, s.interpreted_steps, s.mappings,
             s.window_fills, s.window_drops, s.window_evictions);
}

int boot(const Options& options) {
  const std::vector<std::uint8_t> kernel =
      must_read(options.kernel.empty() ? options.image + "/vmlinux" : options.kernel);
  const Disks disks = open_disks(options);

  base::SystemClock clock;
  base::ManualClock still;
  base::SystemRandom random;
  base::SeededRandom seeded(1);
  vm::test::PostLoop loop;
  Listener listener(options.until);
  PrintingPort agent(listener, options.quiet_port);
  DeadNetwork network;
  vm::MachineConfig config;
  config.memory_bytes = vm::u64{options.memory_mib} << 20;
  config.kernel = kernel;
  config.command_line =
      "console=ttyS0 root=/dev/vda ro rootfstype=erofs init=/sbin/init tsc=reliable "
      "reboot=t panic=-1 norandmaps random.trust_bootloader=on " +
      options.append;
  for (const auto& disk : disks)
    config.disks.push_back({disk.get(), "snowglobe"});
  config.network = &network;
  config.ports.push_back({"snowglobe.agent", &agent});
  config.clock = options.deterministic ? static_cast<base::Clock*>(&still) : &clock;
  config.random = options.deterministic ? static_cast<base::RandomSource*>(&seeded) : &random;
  config.loop = &loop;
  config.log = [](const base::LogLine& line) { fmt::print(stderr, "[log] {}\n", line.text); };
  config.serial_output = [&listener](base::ConstBytes data) {
    std::fwrite(data.data(), 1, data.size(), stdout);
    std::fflush(stdout);
    listener.on_output(data);
  };
  config.time_by_instructions = options.deterministic;
  config.executor = options.executor == "translator"    ? vm::Executor::kTranslator
                    : options.executor == "interpreter" ? vm::Executor::kInterpreter
                                                        : vm::Executor::kAutomatic;

  const auto machine = must(vm::Machine::create(config));
  const auto begin = std::chrono::steady_clock::now();
  const auto started = machine->start([&listener](vm::MachineEnd end) { listener.on_end(end); });
  if (!started) return 1;
  const bool in_time = listener.wait(std::chrono::seconds(options.seconds));
  const auto end = listener.end();
  machine->stop();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  const vm::MachineStatistics statistics = machine->statistics();
  const double idle =
      options.deterministic ? 0 : static_cast<double>(statistics.idle_nanoseconds) * 1e-9;
  const double busy = took.count() - idle;
  fmt::print(stderr,
             "\n[{}] {:.3f} s, {:.3f} s of it idle; {} instructions ({:.1f} M/s busy), {} blocks "
             "decoded, {} interrupts\n",
             name(end), took.count(), idle, statistics.instructions,
             static_cast<double>(statistics.instructions) / busy * 1e-6, statistics.blocks_decoded,
             statistics.interrupts);
  if (statistics.translated) print_translator(statistics);
  return in_time ? 0 : 2;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Boots a kernel in the machine and shows its serial console");
  app.add_option("--image", options.image, "folder of the guest image");
  app.add_option("--kernel", options.kernel, "vmlinux instead of the image's");
  app.add_option("--root", options.root, "root file system instead of the image's");
  app.add_option("--cluster", options.cluster, "packed cluster instead of the image's");
  app.add_option("--disk", options.disks, "raw disks instead of root and cluster");
  app.add_option("--append", options.append, "more words for the kernel's command line");
  app.add_option("--until", options.until, "stop when the guest says this");
  app.add_option("--memory", options.memory_mib, "MiB of RAM");
  app.add_option("--seconds", options.seconds, "stop after this time");
  app.add_flag("--by-instructions", options.deterministic, "deterministic time");
  app.add_option("--executor", options.executor)
      ->check(CLI::IsMember({"automatic", "translator", "interpreter"}));
  app.add_flag("--quiet-port", options.quiet_port, "do not print what the agent says");
  CLI11_PARSE(app, argc, argv);
  return boot(options);
}
