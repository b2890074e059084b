// api/src/agent.h - the host's side of the conversation with the agent, PID 1 of the guest. The
// protocol is described in guest/agent/protocol.h; the guest is not trusted: whatever it says is
// checked and bounded.
#pragma once

#include "api/src/deadline.h"
#include "vm/machine.h"
#include <snowglobe/guest.hpp>

#include <array>
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

class ProgramStreams;

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
  std::uint64_t disk_bytes = 0;                     ///< that the data disk has, 0: as before
  std::uint64_t disk_limit = 0;                     ///< as for disk_limit()
  std::array<std::uint8_t, 6> mac = {};             ///< of its network card; zeros: as it is
  base::ConstBytes entropy = {};                    ///< SNOWGLOBE_RESUME_ENTROPY bytes or more
};

/// The data disk as the guest's programs see it, in bytes.
struct GuestDiskSize {
  std::uint64_t size = 0;
  std::uint64_t used = 0;
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
  base::Result<void> resume(const Resumption& resumption, Deadline deadline);
  base::Result<void> cancel_statement(std::uint32_t backend, Deadline deadline);
  /// `flags`: enum snowglobe_quiesce_flags.
  base::Result<void> quiesce(std::uint32_t flags, Deadline deadline);
  base::Result<void> start_postgres(const std::vector<std::string>& settings, Deadline deadline);
  base::Result<void> shut_down(std::chrono::milliseconds patience, Deadline deadline);
  /// `how`: 0 smart, 1 fast, 2 immediate. Returns when it has ended.
  base::Result<void> stop_postgres(std::uint32_t how, Deadline deadline);

  /// For a guest that waits for its data disk. `device_bytes`: the disk's capacity, for which the
  /// guest's kernel may have to be waited (0: as it is); `limit` as for disk_limit().
  base::Result<GuestDiskSize> mount_data(std::uint64_t device_bytes, std::uint64_t limit,
                                         Deadline deadline);
  /// After stop_postgres(): the guest waits for a data disk and knows nothing of the last one.
  base::Result<void> unmount_data(Deadline deadline);
  /// How large the data disk is to seem; 0: as large as it is, but for PostgreSQL's own reserve.
  base::Result<GuestDiskSize> disk_limit(std::uint64_t device_bytes, std::uint64_t limit,
                                         Deadline deadline);
  /// Has the guest discard whatever its file system does not use. Returns those bytes.
  base::Result<std::uint64_t> trim(std::chrono::milliseconds limit);

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
                            std::string_view contents, Deadline deadline, const char* what,
                            ProgramStreams* streams = nullptr);
  void exchange(std::unique_lock<std::mutex>& lock, std::uint32_t id, Request& request,
                ProgramStreams& streams);
  base::Result<GuestDiskSize> size_request(std::uint16_t type, std::uint64_t device_bytes,
                                           std::uint64_t limit, Deadline deadline,
                                           const char* what);
  void handle_frame(std::uint32_t id, std::uint16_t type, base::ConstBytes payload);
  void handle_event(std::uint16_t type, base::ConstBytes payload);

  asio::io_context& loop_;
  AgentEvents events_;
  std::string input_;               // of a frame that is not complete
  bool confused_ = false;           // the agent broke the protocol: nothing more is read
  std::shared_ptr<Shared> shared_;  // what posted work and waiting threads hold on to
};

}  // namespace snowglobe::detail
