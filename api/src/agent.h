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
  base::Result<void> start_postgres(const std::vector<std::string>& settings, Deadline deadline);
  base::Result<void> shut_down(std::chrono::milliseconds patience, Deadline deadline);

 private:
  struct Request;
  struct Answer;
  class Shared;

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
