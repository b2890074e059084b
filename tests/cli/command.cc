// tests/cli/command.cc - runs the built `snowglobe` as a user would.
#include "tests/cli/command.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <utmp.h>

namespace snowglobe::testing {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kWholeRun = std::chrono::seconds(60);
constexpr auto kOneWait = std::chrono::seconds(20);

[[noreturn]] void become(const std::vector<std::string>& arguments, const RunOptions& options) {
  if (!options.directory.empty() && chdir(options.directory.c_str()) != 0) _exit(126);
  for (const char* name :
       {"PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGAPPNAME", "PSQLRC", "NO_COLOR"})
    unsetenv(name);
  setenv("SNOWGLOBE_HOME", home().c_str(), 1);
  setenv("TERM", "dumb", 1);
  for (const std::string& entry : options.environment) {
    const std::size_t equals = entry.find('=');
    setenv(entry.substr(0, equals).c_str(), entry.substr(equals + 1).c_str(), 1);
  }
  if (options.file_size_limit != 0) {
    const rlimit limit{options.file_size_limit, options.file_size_limit};
    setrlimit(RLIMIT_FSIZE, &limit);
    std::signal(SIGXFSZ, SIG_IGN);
  }
  std::vector<char*> pointers;
  for (const std::string& argument : arguments)
    pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  execvp(pointers[0], pointers.data());
  _exit(127);
}

int code_of(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void feed(int& descriptor, std::string& input) {
  const ssize_t written = write(descriptor, input.data(), input.size());
  if (written > 0) input.erase(0, static_cast<std::size_t>(written));
  if (written < 0 && errno != EAGAIN) input.clear();
  if (!input.empty()) return;
  close(descriptor);
  descriptor = -1;
}

/// Returns false at the end.
bool drain(int descriptor, std::string& text) {
  std::array<char, 65536> block;
  const ssize_t got = read(descriptor, block.data(), block.size());
  if (got > 0) text.append(block.data(), static_cast<std::size_t>(got));
  return got > 0;
}

std::vector<std::string> with_program(const std::vector<std::string>& arguments) {
  std::vector<std::string> all = {SNOWGLOBE_COMMAND};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return all;
}

}  // namespace

Folder::Folder() {
  std::string pattern = std::filesystem::temp_directory_path() / "snowglobe-cli-XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
  path_ = pattern;
}

Folder::~Folder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::filesystem::path home() {
  static const Folder kHome;
  return kHome.path();
}

Ran snowglobe(const std::vector<std::string>& arguments, const RunOptions& options) {
  return run_program(with_program(arguments), options);
}

Ran run_program(const std::vector<std::string>& arguments, const RunOptions& options) {
  static_cast<void>(home());
  int in[2], out[2], err[2];
  if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0)
    throw std::runtime_error("no pipes");
  const pid_t child = fork();
  if (child == 0) {
    dup2(in[0], STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    dup2(err[1], STDERR_FILENO);
    become(arguments, options);
  }
  close(in[0]);
  close(out[1]);
  close(err[1]);
  fcntl(in[1], F_SETFL, O_NONBLOCK);
  std::signal(SIGPIPE, SIG_IGN);
  Ran ran;
  std::string input = options.input;
  const auto deadline = Clock::now() + kWholeRun;
  bool out_open = true, err_open = true;
  if (input.empty()) feed(in[1], input);
  while ((out_open || err_open) && Clock::now() < deadline) {
    pollfd all[] = {{out_open ? out[0] : -1, POLLIN, 0},
                    {err_open ? err[0] : -1, POLLIN, 0},
                    {in[1], POLLOUT, 0}};
    if (poll(all, 3, 1000) <= 0) continue;
    if (all[0].revents != 0) out_open = drain(out[0], ran.out);
    if (all[1].revents != 0) err_open = drain(err[0], ran.err);
    if (in[1] >= 0 && all[2].revents != 0) feed(in[1], input);
  }
  if (in[1] >= 0) close(in[1]);
  close(out[0]);
  close(err[0]);
  if (out_open || err_open) kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  ran.code = code_of(status);
  return ran;
}

Started::Started(On on, const std::vector<std::string>& arguments,
                 const std::vector<std::string>& environment) {
  static_cast<void>(home());
  int from_child = -1, to_parent = -1;
  if (on == On::terminal) {
    const winsize size{40, 200, 0, 0};
    if (openpty(&from_child, &to_parent, nullptr, nullptr, &size) != 0)
      throw std::runtime_error("no terminal");
  } else {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    from_child = ends[0];
    to_parent = ends[1];
  }
  fcntl(from_child, F_SETFD,
        FD_CLOEXEC);  // a terminal whose program holds both ends never hangs up
  child_ = fork();
  if (child_ == 0) {
    if (on == On::terminal) {
      login_tty(to_parent);
    } else {
      dup2(to_parent, STDOUT_FILENO);
      dup2(to_parent, STDERR_FILENO);
    }
    become(with_program(arguments), {.input = {}, .environment = environment, .directory = {}});
  }
  close(to_parent);
  descriptor_ = from_child;
}

Started::~Started() {
  if (child_ > 0) {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  if (descriptor_ >= 0) hang_up();
}

bool Started::read_more(Clock::time_point deadline) {
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
  pollfd event{descriptor_, POLLIN, 0};
  if (left <= 0 || poll(&event, 1, static_cast<int>(left)) <= 0) return false;
  return drain(descriptor_, unread_);
}

std::string Started::wait_for(const std::string& text) {
  const auto deadline = Clock::now() + kOneWait;
  for (;;) {
    const std::size_t at = unread_.find(text);
    if (at != std::string::npos) {
      std::string came = unread_.substr(0, at + text.size());
      unread_.erase(0, at + text.size());
      return came;
    }
    if (read_more(deadline)) continue;
    ADD_FAILURE() << "\"" << text << "\" did not come, but:\n" << unread_;
    return unread_;
  }
}

void Started::type(const std::string& text) {
  ASSERT_EQ(write(descriptor_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

void Started::signal(int number) {
  ASSERT_EQ(kill(child_, number), 0);
}

void Started::hang_up() {
  close(std::exchange(descriptor_, -1));
}

void Started::resize(unsigned short rows, unsigned short columns) {
  const winsize size{rows, columns, 0, 0};
  ASSERT_EQ(ioctl(descriptor_, TIOCSWINSZ, &size), 0);
}

int Started::wait() {
  const auto deadline = Clock::now() + kOneWait;
  while (descriptor_ >= 0 && read_more(deadline)) {
  }
  while (Clock::now() < deadline) {
    int status = 0;
    if (waitpid(child_, &status, WNOHANG) == child_) {
      child_ = -1;
      return code_of(status);
    }
    usleep(2000);
  }
  ADD_FAILURE() << "it does not end; it said:\n" << unread_;
  return -1;
}

}  // namespace snowglobe::testing
