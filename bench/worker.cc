// bench/worker.cc - fork, and JSON lines over a pipe.
#include "bench/worker.h"

#include "bench/interruption.h"
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <stdexcept>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace bench {
namespace {

using Json = nlohmann::ordered_json;

void write_line(int pipe, const Json& json) {
  const std::string line =
      json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
  for (std::size_t at = 0; at < line.size();) {
    const ssize_t written = ::write(pipe, line.data() + at, line.size() - at);
    if (written <= 0) ::_exit(1);  // nobody listens
    at += static_cast<std::size_t>(written);
  }
}

[[noreturn]] void work(int pipe, const std::function<void(const Worker::Tell&)>& body) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  default_interruptions();
  int status = 0;
  try {
    body([pipe](const Json& json) { write_line(pipe, json); });
  } catch (const std::exception& error) {
    write_line(pipe, {{"error", error.what()}});
    status = 1;
  }
  // Machines and clients are gone with the body; what else the parent made is not ours to destroy.
  ::_exit(status);
}

}  // namespace

Worker::Worker(const std::function<void(const Tell&)>& body) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("no pipe for a worker");
  std::fflush(nullptr);
  child_ = ::fork();
  if (child_ < 0) throw std::runtime_error("no process for a worker");
  if (child_ == 0) {
    ::close(ends[0]);
    work(ends[1], body);
  }
  ::close(ends[1]);
  pipe_ = ends[0];
}

Worker::~Worker() {
  (void)end();
  ::close(pipe_);
}

bool Worker::read_more(std::chrono::steady_clock::time_point until) {
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
  pollfd ready{pipe_, POLLIN, 0};
  const int count = ::poll(&ready, 1, left.count() > 0 ? static_cast<int>(left.count()) : 0);
  throw_if_interrupted();
  if (count < 0 && errno == EINTR) return true;
  if (count <= 0) return false;
  char buffer[4096];
  const ssize_t length = ::read(pipe_, buffer, sizeof buffer);
  if (length <= 0) {
    ended_ = true;
    return false;
  }
  input_.append(buffer, static_cast<std::size_t>(length));
  return true;
}

std::optional<Json> Worker::next(std::chrono::steady_clock::time_point until) {
  for (;;) {
    const std::size_t newline = input_.find('\n');
    if (newline != std::string::npos) {
      Json line = Json::parse(input_.substr(0, newline));
      input_.erase(0, newline + 1);
      return line;
    }
    if (!read_more(until)) return std::nullopt;
  }
}

std::string Worker::end() {
  if (child_ <= 0) return {};
  if (!ended_) ::kill(child_, SIGKILL);
  int status = 0;
  ::waitpid(child_, &status, 0);
  child_ = -1;
  if (!ended_) return "not done in time";
  if (WIFSIGNALED(status)) return std::string("the process died: ") + ::strsignal(WTERMSIG(status));
  return WEXITSTATUS(status) == 0 ? "" : "the process ended early";
}

}  // namespace bench
