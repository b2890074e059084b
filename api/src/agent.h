// api/src/agent.h - the host's side of the conversation with the agent, PID 1 of the guest. The
// protocol is described in guest/agent/protocol.h; the guest is not trusted: whatever it says is
// checked and bounded.
#pragma once

#include "api/src/deadline.h"
#include "vm/machine.h"
#include <snowglobe/guest.hpp>

#include <asio/io_context.hpp>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace snowglobe::detail {

/// What the agent says without being asked. Called on the machine's thread.
struct AgentEvents {
  std::function<void(std::string version)> hello;
  std::function<void(std::string step)> progress;
  std::function<void()> postgres_ready;
  std::function<void(int wait_status)> postgres_exited;
  std::function<void(std::string why)> boot_failed;
  std::function<void(bool postgres, std::string line)> log;
};

/// What a machine needs first after a restore, as a fork, or from the ready state.
struct Resumption {
  std::optional<base::Nanoseconds> clock = {};      ///< since 1970; none: as it is
  std::optional<base::Nanoseconds> fixed_now = {};  ///< where now() stands still
  std::uint32_t secret = 0;                         ///< of this life; see SNOWGLOBE_RESUME
  base::ConstBytes entropy = {};                    ///< SNOWGLOBE_RESUME_ENTROPY bytes or more
};

/// Thread rule: requests from any thread, not the machine's; attach() before the machine starts;
/// the rest is the machine's thread.
class AgentClient final : public vm::PortBackend {
 public:
  AgentClient(asio::io_context& loop, AgentEvents events);
  ~AgentClient() override;

  /// The machine and which of its ports is the agent's.
  void attach(vm::Machine& machine, std::size_t port);
  /// From now on every request fails with this error; those under way too. Any thread.
  void end(const base::Error& why);

  std::size_t on_data(base::ConstBytes data) override;
  void on_open(bool open) override;
  void on_send_ready() override;

  base::Result<ExecResult> exec(const std::vector<std::string>& arguments,
                                const ExecOptions& options);
  base::Result<void> put(std::string_view path, std::string_view contents, unsigned mode,
                         Deadline deadline);
  base::Result<std::string> get(std::string_view path, Deadline deadline);
  base::Result<void> set_clock(base::Nanoseconds since_1970, Deadline deadline);
  base::Result<void> reseed(base::ConstBytes entropy, Deadline deadline);
  base::Result<void> resume(const Resumption& resumption, Deadline deadline);
  base::Result<void> cancel_statement(std::uint32_t backend, Deadline deadline);
  /// `flags`: enum snowglobe_quiesce_flags.
  base::Result<void> quiesce(std::uint32_t flags, Deadline deadline);
  base::Result<void> start_postgres(const std::vector<std::string>& settings, Deadline deadline);
  base::Result<void> shut_down(std::chrono::milliseconds patience, Deadline deadline);

  /// As resume(), on the machine's thread; `done` is called there, or by whoever calls end();
  /// it must not save or restore.
  void begin_resume(const Resumption& resumption,
                    std::function<void(const base::Result<void>&)> done);
  /// The host's half of the conversation: what belongs to the state of the machine. The machine's
  /// thread.
  [[nodiscard]] std::string save() const;
  /// Goes on from a saved half; whoever waits for an answer gets kUnavailable. Errors: kCorrupt,
  /// then nothing has changed.
  base::Result<void> restore(base::ConstBytes state);

 private:
  struct Request;
  struct Answer;
  class Shared;

  std::uint32_t open_request(std::shared_ptr<Request> request);
  base::Result<Answer> call(std::uint16_t type, const std::string& payload,
                            std::string_view contents, Deadline deadline, const char* what);
  void handle_frame(std::uint32_t id, std::uint16_t type, base::ConstBytes payload);
  void handle_event(std::uint16_t type, base::ConstBytes payload);

  asio::io_context& loop_;
  AgentEvents events_;
  std::string input_;               // of a frame that is not complete
  bool confused_ = false;           // the agent broke the protocol: nothing more is read
  std::shared_ptr<Shared> shared_;  // what posted work and waiting threads hold on to
};

}  // namespace snowglobe::detail
