// api/src/instance_parts.h - the parts of an Instance, in the order in which they may be destroyed
// backwards.
#pragma once

#include "api/src/agent.h"
#include "api/src/asio_loop.h"
#include "api/src/code_cache.h"
#include "api/src/console_log.h"
#include "api/src/disks.h"
#include "api/src/image.h"
#include "api/src/instance.h"
#include "api/src/pipe_clients.h"
#include "api/src/snapshot_data.h"
#include "base/clock.h"
#include "base/random.h"
#include "guestnet/network.h"
#include "guestnet/pipe.h"
#include "vm/machine.h"

#include <array>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

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
  bool bare = false;  ///< the guest is to mount the data disk when it is awake
  std::array<std::uint8_t, 6> mac = vm::MachineConfig().mac;  ///< forks get others: choose_mac()
  std::string started = "cold";
  std::string why_cold;
  std::optional<CodeCache> code_cache;  ///< of translated code that fits the machine's beginning
  bool keeps_code = false;              ///< it began exactly so: the cache gets what it translated
  std::shared_ptr<const MachinePicture> ready;  ///< that it was made from, kept for the next open

  AsioLoop loop;

 private:
  // Ahead of the agent, whose end may report to them.
  bool resuming_ = false;
  std::uint64_t resumptions_ = 0;  // the last one counts
  asio::steady_timer resume_timer_{loop.context()};
  std::vector<std::function<void()>> when_awake_;
  std::mutex tell_mutex_;
  bool muted_ = false;

 public:
  std::shared_ptr<ReadOnlyDisk> root_disk;  // read-only: shared with forks
  std::unique_ptr<DataDisk> data_disk;          // made by build_machine() if there is none
  std::unique_ptr<AgentClient> agent;
  std::unique_ptr<net::Network> network;
  std::unique_ptr<PipeClients> clients;
  std::unique_ptr<net::PipeListener> pipe;
  struct Exposed {
    std::string address;  // or folder
    std::uint16_t port;
    std::unique_ptr<net::Listener> listener;
  };
  std::vector<Exposed> exposed;  // the machine's thread
  std::mutex stop_mutex;         // of the machine's end, which two threads may ask for
  std::unique_ptr<vm::Machine> machine;

  /// For Options::on_log; a callback that throws is not heard again.
  void tell(LogSource source, LogLevel level, const std::string& text);
  void choose_executor();
  void choose_mac();
  /// In bytes, as the guest is told; 0: none.
  [[nodiscard]] vm::u64 disk_limit() const { return vm::u64{options.disk_limit_mb} << 20; }
  void load_image();
  void build_agent();
  void build_network();
  /// `from` is null for a machine that boots.
  void build_machine(const vm::TranslatorOptions* translator, const MachinePicture* from);
  void shut_network();
  void on_serial(base::ConstBytes bytes);
  void on_end(vm::MachineEnd end);
  void run();
  void wait_until_ready();
  /// The agent answers: what is left to do until PostgreSQL is up. Should it fail, `progress` says.
  void go_on_with_agent(const Deadline& deadline);
  void stop() noexcept;
  /// Ahead of build_machine(), for a machine that begins in a state made earlier: `how` it starts.
  void find_code_cache(const std::string& how);

  /// Of a disk in memory, for the limit and what is on it.
  void set_backstop();
  /// Has the disk grow under a machine that is there. The machine's thread.
  base::Result<void> grow_disk(vm::u64 capacity);

  // --- snapshots (instance_snapshot.cc): the machine's thread, while the sessions are held still
  base::Result<std::shared_ptr<const MachinePicture>> capture(const SessionRegistry::Hold& hold);
  base::Result<void> restore(const MachinePicture& picture, const SessionRegistry::Hold& hold);
  /// Of a machine that was built from a picture and does not run yet.
  base::Result<void> take_up(const MachinePicture& picture);
  /// What the guest is told after a restore.
  [[nodiscard]] Resumption resumption(base::ConstBytes entropy);
  /// Nothing passes between guest and clients until the guest has answered.
  void begin_resume();
  /// Calls `then` at once, or when it has.
  void when_awake(std::function<void()> then);
  [[nodiscard]] bool resuming() const { return resuming_; }

 private:
  struct Fates;

  Fates decide(const MachinePicture& picture, const SessionRegistry::Hold& hold);
  [[nodiscard]] base::Result<void> check(const MachinePicture& picture,
                                         const net::RestorePlan& plan) const;
  void awake();
  void does_not_awake(const std::string& why);

  std::uint64_t marks_ = 0;
  void report(int done, const std::string& text) const;
  [[noreturn]] void boot_timed_out();
};

template <class T>
T Instance::on_machine_thread(std::function<T()> work) {
  struct Request {
    std::atomic<bool> taken = false;  // by the machine's thread, or taken back
    std::promise<T> answer;
  };
  constexpr std::chrono::milliseconds kLimit = std::chrono::seconds(10);
  const auto request = std::make_shared<Request>();
  std::future<T> answer = request->answer.get_future();
  asio::post(parts_->loop.context(), [request, work = std::move(work)] {
    if (request->taken.exchange(true)) return;
    try {
      request->answer.set_value(work());
    } catch (...) {
      request->answer.set_exception(std::current_exception());
    }
  });
  const Deadline deadline(kLimit);
  while (answer.wait_for(std::chrono::milliseconds(20)) != std::future_status::ready) {
    if (is_open() && !deadline.passed()) continue;
    if (request->taken.exchange(true)) break;  // it is at it
    check({});
    throw TimeoutError("the machine did not take a request of the host in time");
  }
  return answer.get();
}

}  // namespace snowglobe::detail
