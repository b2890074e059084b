// api/src/instance_parts.h - the parts of an Instance, in the order in which they may be destroyed
// backwards.
#pragma once

#include "api/src/agent.h"
#include "api/src/asio_loop.h"
#include "api/src/console_log.h"
#include "api/src/disks.h"
#include "api/src/image.h"
#include "api/src/instance.h"
#include "base/clock.h"
#include "base/random.h"
#include "guestnet/network.h"
#include "guestnet/pipe.h"
#include "vm/machine.h"

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace snowglobe::detail {

/// How far the guest is, told by the machine's thread to those who wait.
class Progression {
 public:
  enum class State : std::uint8_t { booting, ready, failed, ended, closed };

  void step(std::string text);
  void ready();
  /// The guest cannot go on, in the agent's words; the machine itself may still run.
  void failed(std::string why);
  /// The machine has ended by itself.
  void ended(std::string how);
  /// close() was called: what ends now ends on purpose.
  void closed();

  [[nodiscard]] State state() const;
  [[nodiscard]] std::string reason() const;
  /// Waits until it is no longer `state`, or the deadline.
  State wait_while(State state, Deadline deadline) const;

  /// Waits for a step or a change of state while booting. False when the deadline has passed.
  bool wait_news(Deadline deadline, std::optional<std::string>& step);
  void wake();
  [[nodiscard]] int steps() const;

 private:
  void change(State to, std::string reason);

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  State state_ = State::booting;
  std::string reason_;
  std::deque<std::string> steps_;
  int count_ = 0;
  bool woken_ = false;
};

struct Instance::Parts {
  explicit Parts(const Options& opened_with) : options(opened_with) {}

  Options options;
  GuestImage image;
  base::SystemClock clock;
  base::SystemRandom random;
  ConsoleLog console;
  LineCutter serial_lines;  // the machine's thread
  Progression progress;
  std::chrono::milliseconds boot_time{0};
  bool executor_from_environment = false;

  AsioLoop loop;
  std::unique_ptr<FileDisk> root_disk;
  std::unique_ptr<OverlayDisk> data_disk;
  std::unique_ptr<AgentClient> agent;
  std::unique_ptr<net::Network> network;
  std::unique_ptr<net::PipeListener> pipe;
  std::vector<std::unique_ptr<net::LoopbackListener>> exposed;  // the machine's thread
  std::mutex stop_mutex;  // of the machine's end, which two threads may ask for
  std::unique_ptr<vm::Machine> machine;

  /// For Options::on_log; a callback that throws is not heard again.
  void tell(LogSource source, LogLevel level, const std::string& text);
  void load_image();
  void build_agent();
  void build_network();
  void build_machine(const vm::TranslatorOptions* translator);
  void on_serial(base::ConstBytes bytes);
  void on_end(vm::MachineEnd end);
  void wait_until_ready();
  void stop() noexcept;

 private:
  std::mutex tell_mutex_;
  bool muted_ = false;
  void report(int done, const std::string& text) const;
  [[noreturn]] void boot_timed_out();
};

/// The base of the cluster's disk: unpacked once for all instances that are alive.
base::Result<std::shared_ptr<const SparseDisk>> cluster_disk(const GuestImage& image);

}  // namespace snowglobe::detail
