// api/src/agent.cc - frames to and from the agent, and the requests that wait for their answers.
#include "api/src/agent.h"

#include "api/src/agent_wire.h"
#include "api/src/program_streams.h"
#include "guest/agent/protocol.h"

#include <algorithm>
#include <asio/post.hpp>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <utility>

namespace snowglobe::detail {
namespace {

using base::Error;
using base::ErrorCode;

// What a program's output or a file may take of the host's memory.
constexpr std::size_t kMaxOutput = std::size_t{256} << 20;

std::string_view view(base::ConstBytes bytes) {
  return {static_cast<const char*>(static_cast<const void*>(bytes.data())), bytes.size()};
}

std::string resume_payload(const Resumption& resumption) {
  const auto nanoseconds = [](std::optional<base::Nanoseconds> time) {
    return static_cast<std::uint64_t>(time.value_or(base::Nanoseconds(0)).count());
  };
  return WireWriter()
      .number(nanoseconds(resumption.clock))
      .number(nanoseconds(resumption.fixed_now))
      .number(resumption.secret)
      .number(resumption.disk_bytes)
      .number(resumption.disk_limit)
      .raw(view(resumption.mac))
      .raw(view(resumption.entropy))
      .take();
}

}  // namespace

struct AgentClient::Answer {
  std::string ok;  ///< payload of SNOWGLOBE_OK
  std::string out, err;
};

/// One request; guarded by Shared's mutex.
struct AgentClient::Request {
  Answer answer;
  std::optional<Error> error;
  bool done = false;
  std::size_t taken = 0;  ///< bytes of stdin that were read since this was looked at
  bool poked = false;     ///< a GuestInput has something new
  std::function<void(const base::Result<void>&)> then;  ///< in place of a thread that waits

  /// Requires that it is done, and no lock: `then` may do anything.
  void report() const {
    if (then) then(error ? base::Result<void>(*error) : base::Result<void>());
  }
};

/// Requests and what is to be sent. Outlives the client for as long as somebody holds on to it.
class AgentClient::Shared {
 public:
  // --- any thread ---
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::uint32_t, std::shared_ptr<Request>> open;
  std::optional<Error> ended;
  std::uint32_t last_id = 0;

  // --- the machine's thread ---
  vm::Machine* machine = nullptr;
  std::size_t port = 0;
  std::string outbox;
  std::size_t sent = 0;

  void pump() {
    while (machine != nullptr && sent < outbox.size()) {
      const base::ConstBytes rest(
          static_cast<const std::uint8_t*>(static_cast<const void*>(outbox.data())) + sent,
          outbox.size() - sent);
      const std::size_t taken = machine->send_to_port(port, rest);
      if (taken == 0) return;  // on_send_ready() goes on
      sent += taken;
    }
    outbox.clear();
    sent = 0;
  }

  void finish(std::uint32_t id, std::optional<Error> error) {
    std::shared_ptr<Request> request;
    {
      const std::lock_guard lock(mutex);
      const auto found = open.find(id);
      if (found == open.end()) return;
      request = found->second;
      request->error = std::move(error);
      request->done = true;
      open.erase(found);
      changed.notify_all();
    }
    request->report();
  }

  void finish_all(const Error& why) {
    std::map<std::uint32_t, std::shared_ptr<Request>> over;
    {
      const std::lock_guard lock(mutex);
      over.swap(open);
      for (auto& [id, request] : over) {
        request->error = why;
        request->done = true;
      }
      changed.notify_all();
    }
    for (auto& [id, request] : over)
      request->report();
  }

  /// Unless the request was finished meanwhile: then the guest must not do it any more.
  void send(std::uint32_t id, const std::string& frames) {
    {
      const std::lock_guard lock(mutex);
      if (!open.contains(id)) return;
    }
    outbox += frames;
    pump();
  }
};

AgentClient::AgentClient(asio::io_context& loop, AgentEvents events)
    : loop_(loop), events_(std::move(events)), shared_(std::make_shared<Shared>()) {}

AgentClient::~AgentClient() {
  end({ErrorCode::kUnavailable, "the database is closed"});
}

void AgentClient::attach(vm::Machine& machine, std::size_t port) {
  shared_->machine = &machine;
  shared_->port = port;
}

void AgentClient::end(const Error& why) {
  {
    const std::lock_guard lock(shared_->mutex);
    if (!shared_->ended) shared_->ended = why;
  }
  shared_->finish_all(why);
}

// --- from the guest

void AgentClient::on_open(bool open) {
  if (open) shared_->pump();
}

void AgentClient::on_send_ready() {
  shared_->pump();
}

std::size_t AgentClient::on_data(base::ConstBytes data) {
  if (confused_) return data.size();
  input_ += view(data);
  std::size_t at = 0;
  while (input_.size() - at >= SNOWGLOBE_HEADER_SIZE) {
    const base::ConstBytes rest(
        static_cast<const std::uint8_t*>(static_cast<const void*>(input_.data())) + at,
        input_.size() - at);
    WireReader header(rest.first(SNOWGLOBE_HEADER_SIZE));
    const auto length = header.number<std::uint32_t>();
    const auto id = header.number<std::uint32_t>();
    const auto type = header.number<std::uint16_t>();
    if (length > SNOWGLOBE_MAX_PAYLOAD) {
      confused_ = true;
      input_.clear();
      end({ErrorCode::kGuestCrashed, "the guest's agent sent a frame that is too long"});
      return data.size();
    }
    if (rest.size() - SNOWGLOBE_HEADER_SIZE < length) break;
    handle_frame(id, type, rest.subspan(SNOWGLOBE_HEADER_SIZE, length));
    at += SNOWGLOBE_HEADER_SIZE + length;
  }
  input_.erase(0, at);
  return data.size();
}

void AgentClient::handle_frame(std::uint32_t id, std::uint16_t type, base::ConstBytes payload) {
  if (id == 0) return handle_event(type, payload);
  if (type == SNOWGLOBE_OK || type == SNOWGLOBE_ERROR) {
    std::optional<Error> error;
    if (type == SNOWGLOBE_ERROR) {
      WireReader reader(payload);
      const auto number = static_cast<int>(reader.number<std::uint32_t>());
      char buffer[128];
      const char* reason = strerror_r(number, buffer, sizeof buffer);
      std::string text = reader.string();  // most of the guest's texts end with the reason
      if (!text.ends_with(reason)) text.append(": ").append(reason);
      error = Error{ErrorCode::kInvalidArgument, std::move(text)};
    } else {
      const std::lock_guard lock(shared_->mutex);
      const auto found = shared_->open.find(id);
      if (found != shared_->open.end()) found->second->answer.ok = view(payload);
    }
    shared_->finish(id, std::move(error));
    return;
  }
  bool too_much = false;
  {
    const std::lock_guard lock(shared_->mutex);
    const auto found = shared_->open.find(id);
    if (found == shared_->open.end()) return;
    Answer& answer = found->second->answer;
    if (type == SNOWGLOBE_STDIN_TAKEN) {
      found->second->taken += WireReader(payload).number<std::uint32_t>();
      shared_->changed.notify_all();
    } else if (type == SNOWGLOBE_STDERR) {
      answer.err += view(payload);
      shared_->changed.notify_all();
    } else if (type == SNOWGLOBE_STDOUT || type == SNOWGLOBE_DATA) {
      answer.out += view(payload);
      shared_->changed.notify_all();
    }
    too_much = answer.out.size() + answer.err.size() > kMaxOutput;
  }
  if (too_much) {
    shared_->finish(id, Error{ErrorCode::kResourceExhausted, "the guest's output is too long"});
    shared_->outbox += agent_frame(id, SNOWGLOBE_CANCEL, {});
    shared_->pump();
  }
}

void AgentClient::handle_event(std::uint16_t type, base::ConstBytes payload) {
  WireReader reader(payload);
  switch (type) {
    case SNOWGLOBE_HELLO: {
      const auto version = reader.number<std::uint32_t>();
      if (version == SNOWGLOBE_PROTOCOL_VERSION) return events_.hello(reader.string());
      return events_.boot_failed("the image's agent speaks version " + std::to_string(version) +
                                 " of the protocol, and the library " +
                                 std::to_string(SNOWGLOBE_PROTOCOL_VERSION));
    }
    case SNOWGLOBE_PROGRESS:
      return events_.progress(reader.string());
    case SNOWGLOBE_POSTGRES_READY:
      return events_.postgres_ready();
    case SNOWGLOBE_POSTGRES_EXITED:
      return events_.postgres_exited(static_cast<int>(reader.number<std::uint32_t>()));
    case SNOWGLOBE_BOOT_FAILED:
      return events_.boot_failed(reader.string());
    case SNOWGLOBE_LOG: {
      const bool postgres = reader.number<std::uint8_t>() == SNOWGLOBE_LOG_POSTGRES;
      reader.number<std::uint32_t>();
      return events_.log(postgres, reader.string());
    }
    default:
      return;  // an event of a later version
  }
}

// --- requests

/// Under the lock: a number for the request, which is open from now on.
std::uint32_t AgentClient::open_request(std::shared_ptr<Request> request) {
  std::uint32_t id = 0;
  do {
    id = ++shared_->last_id;
  } while (id == 0 || shared_->open.contains(id));
  shared_->open[id] = std::move(request);
  return id;
}

base::Result<AgentClient::Answer> AgentClient::call(std::uint16_t type, const std::string& payload,
                                                    std::string_view contents, Deadline deadline,
                                                    const char* what, ProgramStreams* streams) {
  if (payload.size() > SNOWGLOBE_MAX_PAYLOAD) {
    return Error{ErrorCode::kInvalidArgument, std::string(what) + ": the request is too long"};
  }
  const auto request = std::make_shared<Request>();
  std::unique_lock lock(shared_->mutex);
  if (shared_->ended) return *shared_->ended;
  if (shared_->open.size() >= SNOWGLOBE_MAX_OPEN) {
    return Error{ErrorCode::kUnavailable, std::string(what) + ": too many requests at once"};
  }
  const std::uint32_t id = open_request(request);
  std::string frames = agent_frame(id, type, payload);
  if (type == SNOWGLOBE_PUT) {
    for (std::size_t at = 0; at < contents.size(); at += SNOWGLOBE_MAX_PAYLOAD) {
      frames += agent_frame(id, SNOWGLOBE_DATA, contents.substr(at, SNOWGLOBE_MAX_PAYLOAD));
    }
    frames += agent_frame(id, SNOWGLOBE_DATA, {});
  }
  asio::post(loop_,
             [shared = shared_, id, frames = std::move(frames)] { shared->send(id, frames); });
  if (streams != nullptr) {
    streams->begin([shared = shared_, request] {
      const std::lock_guard wake_lock(shared->mutex);
      request->poked = true;
      shared->changed.notify_all();
    });
    request->poked = true;  // what was written before
  }
  const auto news = [&request, streams] {
    const Answer& answer = request->answer;
    return request->done || (streams != nullptr && (request->poked || request->taken != 0 ||
                                                    (streams->wants_out() && !answer.out.empty()) ||
                                                    (streams->wants_err() && !answer.err.empty())));
  };
  while (!request->done) {
    bool came = true;
    if (!deadline.at()) {
      shared_->changed.wait(lock, news);
    } else {
      came = shared_->changed.wait_until(lock, *deadline.at(), news);
    }
    if (!came) {
      shared_->open.erase(id);
      asio::post(loop_, [shared = shared_, id] {
        shared->outbox += agent_frame(id, SNOWGLOBE_CANCEL, {});
        shared->pump();
      });
      return Error{ErrorCode::kTimeout, std::string(what) + ": the guest did not answer in time"};
    }
    if (streams != nullptr) exchange(lock, id, *request, *streams);
  }
  if (streams != nullptr) exchange(lock, id, *request, *streams);  // its last words
  if (request->error) {
    return Error{request->error->code, std::string(what) + ": " + request->error->message};
  }
  return std::move(request->answer);
}

/// Hands on what came, and sends what there is to send. Gives the lock up meanwhile.
void AgentClient::exchange(std::unique_lock<std::mutex>& lock, std::uint32_t id, Request& request,
                           ProgramStreams& streams) {
  std::string out, err;
  if (streams.wants_out()) out.swap(request.answer.out);
  if (streams.wants_err()) err.swap(request.answer.err);
  const std::size_t taken = std::exchange(request.taken, 0);
  request.poked = false;
  lock.unlock();
  const auto send = [&](std::string frames) {
    if (frames.empty()) return;
    asio::post(loop_,
               [shared = shared_, id, frames = std::move(frames)] { shared->send(id, frames); });
  };
  try {
    streams.deliver(out, err);
  } catch (...) {
    send(agent_frame(id, SNOWGLOBE_SIGNAL, WireWriter().number(std::uint32_t{SIGKILL}).take()));
    throw;
  }
  std::string frames;
  for (const auto& [type, payload] : streams.to_send(taken))
    frames += agent_frame(id, type, payload);
  send(std::move(frames));
  lock.lock();
}

base::Result<ExecResult> AgentClient::exec(const std::vector<std::string>& arguments,
                                           const ExecOptions& options) {
  // Beyond 49 days, a limit is none.
  const auto limit_ms =
      options.limit.count() > std::numeric_limits<std::uint32_t>::max()
          ? std::uint32_t{0}
          : static_cast<std::uint32_t>(std::max<std::int64_t>(0, options.limit.count()));
  const std::uint32_t flags = (options.input ? std::uint32_t{SNOWGLOBE_EXEC_STDIN} : 0u) |
                              (options.terminal ? std::uint32_t{SNOWGLOBE_EXEC_TERMINAL} : 0u);
  const std::string payload =
      WireWriter()
          .number(options.uid)
          .number(options.gid)
          .number(limit_ms)
          .number(flags)
          .string(options.directory)
          .list(arguments)
          .list(options.environment)
          .raw(options.terminal ? ProgramStreams::size_payload(*options.terminal) : std::string())
          .take();
  // The agent ends the program at its limit; the rest is for a guest that has no time to.
  const Deadline deadline =
      limit_ms > 0 ? Deadline(options.limit + std::chrono::seconds(10)) : Deadline();
  ProgramStreams streams(options);
  base::Result<Answer> answer =
      call(SNOWGLOBE_EXEC, payload, {}, deadline, "exec in the guest", &streams);
  if (!answer) return answer.error();
  const std::string& ok = answer.value().ok;
  WireReader reader(
      {static_cast<const std::uint8_t*>(static_cast<const void*>(ok.data())), ok.size()});
  const auto status = reader.number<std::uint32_t>();
  if (reader.number<std::uint32_t>() != 0) {
    return Error{ErrorCode::kTimeout, "exec in the guest: '" + arguments.front() + "' ran for " +
                                          std::to_string(options.limit.count()) +
                                          " ms and was killed"};
  }
  ExecResult result;
  result.out = std::move(answer.value().out);
  result.err = std::move(answer.value().err);
  // waitpid(2) of the guest's Linux: signal in the low 7 bits, exit code in the next byte.
  const int signal = static_cast<int>(status & 0x7F);
  result.exit_code = signal != 0 ? 128 + signal : static_cast<int>(status >> 8 & 0xFF);
  return result;
}

base::Result<void> AgentClient::put(std::string_view path, std::string_view contents, unsigned mode,
                                    Deadline deadline) {
  const std::string payload = WireWriter()
                                  .string(path)
                                  .number(std::uint32_t{mode})
                                  .number(std::uint32_t{0})
                                  .number(std::uint32_t{0})
                                  .take();
  auto answer = call(SNOWGLOBE_PUT, payload, contents, deadline, "put a file into the guest");
  if (!answer) return answer.error();
  return {};
}

base::Result<std::string> AgentClient::get(std::string_view path, Deadline deadline) {
  const std::string payload =
      WireWriter().string(path).number(std::uint64_t{0}).number(std::uint64_t{kMaxOutput}).take();
  auto answer = call(SNOWGLOBE_GET, payload, {}, deadline, "get a file of the guest");
  if (!answer) return answer.error();
  return std::move(answer.value().out);
}

base::Result<void> AgentClient::set_clock(base::Nanoseconds since_1970, Deadline deadline) {
  auto answer = call(SNOWGLOBE_SET_CLOCK,
                     WireWriter().number(static_cast<std::uint64_t>(since_1970.count())).take(), {},
                     deadline, "set the guest's clock");
  if (!answer) return answer.error();
  return {};
}

base::Result<void> AgentClient::resume(const Resumption& resumption, Deadline deadline) {
  auto answer = call(SNOWGLOBE_RESUME, resume_payload(resumption), {}, deadline,
                     "tell the guest that it was restored");
  if (!answer) return answer.error();
  return {};
}

void AgentClient::begin_resume(const Resumption& resumption,
                               std::function<void(const base::Result<void>&)> done) {
  const auto request = std::make_shared<Request>();
  request->then = std::move(done);
  std::unique_lock lock(shared_->mutex);
  if (shared_->ended) {
    request->error = shared_->ended;
    lock.unlock();
    return request->report();
  }
  const std::uint32_t id = open_request(request);
  lock.unlock();
  shared_->send(id, agent_frame(id, SNOWGLOBE_RESUME, resume_payload(resumption)));
}

std::string AgentClient::save() const {
  const std::lock_guard lock(shared_->mutex);
  return WireWriter()
      .number(shared_->last_id)
      .string(std::string_view(shared_->outbox).substr(shared_->sent))
      .string(input_)
      .take();
}

base::Result<void> AgentClient::restore(base::ConstBytes state) {
  WireReader reader(state);
  const auto last_id = reader.number<std::uint32_t>();
  std::string outbox = reader.string();
  std::string input = reader.string();
  if (!reader.ok() || input.size() >= SNOWGLOBE_HEADER_SIZE + SNOWGLOBE_MAX_PAYLOAD) {
    return Error{ErrorCode::kCorrupt, "the snapshot's part about the guest's agent is damaged"};
  }
  shared_->finish_all({ErrorCode::kUnavailable,
                       "the database was restored to a snapshot while the request was under way"});
  shared_->outbox = std::move(outbox);
  shared_->sent = 0;
  input_ = std::move(input);
  confused_ = false;
  const std::lock_guard lock(shared_->mutex);
  // Requests that the restored guest still works on must not be taken for later ones.
  shared_->last_id = std::max(shared_->last_id, last_id);
  return {};
}

base::Result<void> AgentClient::cancel_statement(std::uint32_t backend, Deadline deadline) {
  auto answer = call(SNOWGLOBE_CANCEL_STATEMENT, WireWriter().number(backend).take(), {}, deadline,
                     "cancel a statement");
  if (!answer) return answer.error();
  return {};
}

base::Result<void> AgentClient::quiesce(std::uint32_t flags, Deadline deadline) {
  auto answer = call(SNOWGLOBE_QUIESCE, WireWriter().number(flags).take(), {}, deadline,
                     "make the guest's memory fit for a snapshot");
  if (!answer) return answer.error();
  return {};
}

base::Result<void> AgentClient::start_postgres(const std::vector<std::string>& settings,
                                               Deadline deadline) {
  auto answer = call(SNOWGLOBE_START_POSTGRES, WireWriter().list(settings).take(), {}, deadline,
                     "start PostgreSQL");
  if (!answer) return answer.error();
  return {};
}

base::Result<void> AgentClient::stop_postgres(std::uint32_t how, Deadline deadline) {
  auto answer = call(SNOWGLOBE_STOP_POSTGRES, WireWriter().number(how).take(), {}, deadline,
                     "stop PostgreSQL");
  if (!answer) return answer.error();
  return {};
}

base::Result<void> AgentClient::shut_down(std::chrono::milliseconds patience, Deadline deadline) {
  auto answer = call(SNOWGLOBE_SHUTDOWN,
                     WireWriter().number(static_cast<std::uint32_t>(patience.count())).take(), {},
                     deadline, "shut the guest down");
  if (!answer) return answer.error();
  return {};
}

// --- the data disk

base::Result<GuestDiskSize> AgentClient::size_request(std::uint16_t type,
                                                      std::uint64_t device_bytes,
                                                      std::uint64_t limit, Deadline deadline,
                                                      const char* what) {
  auto answer =
      call(type, WireWriter().number(device_bytes).number(limit).take(), {}, deadline, what);
  if (!answer) return answer.error();
  const std::string& ok = answer.value().ok;
  WireReader reader(
      {static_cast<const std::uint8_t*>(static_cast<const void*>(ok.data())), ok.size()});
  GuestDiskSize size;
  size.size = reader.number<std::uint64_t>();
  size.used = reader.number<std::uint64_t>();
  if (!reader.ok()) {
    return Error{ErrorCode::kGuestCrashed,
                 std::string(what) + ": the guest's answer is not what it should be"};
  }
  return size;
}

base::Result<GuestDiskSize> AgentClient::mount_data(std::uint64_t device_bytes, std::uint64_t limit,
                                                    Deadline deadline) {
  return size_request(SNOWGLOBE_MOUNT_DATA, device_bytes, limit, deadline, "mount the data disk");
}

base::Result<void> AgentClient::unmount_data(Deadline deadline) {
  auto answer = call(SNOWGLOBE_UNMOUNT_DATA, {}, {}, deadline, "unmount the data disk");
  if (!answer) return answer.error();
  return {};
}

base::Result<GuestDiskSize> AgentClient::disk_limit(std::uint64_t device_bytes, std::uint64_t limit,
                                                    Deadline deadline) {
  return size_request(SNOWGLOBE_DISK_LIMIT, device_bytes, limit, deadline,
                      "set the data disk's limit");
}

base::Result<std::uint64_t> AgentClient::trim(std::chrono::milliseconds limit) {
  ExecOptions options;
  options.limit = limit;
  auto ran = exec({"fstrim", "-v", "/var/lib/postgresql"}, options);
  if (!ran) return ran.error();
  // "/var/lib/postgresql: 123456 bytes trimmed"
  const std::string& out = ran.value().out;
  const std::size_t number = out.find(": ");
  const bool said = number != std::string::npos && out.find(" bytes trimmed") != std::string::npos;
  if (ran.value().exit_code != 0 || !said) {
    return Error{ErrorCode::kIo, "trim the data disk: " + ran.value().err};
  }
  return std::strtoull(out.c_str() + number + 2, nullptr, 10);
}

}  // namespace snowglobe::detail
