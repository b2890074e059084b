// cli/children.cc - other programs: psql, the command of `run`, a pager.
#include "cli/children.h"

#include "cli/failure.h"
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <spawn.h>
#include <streambuf>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>

namespace snowglobe::cli {
namespace {

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (std::string& text : texts)
    pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

/// Starts a program with the signals as programs expect them, and `input` and `output` (if any) as
/// its stdin and stdout.
pid_t spawn(std::vector<std::string>& arguments, std::vector<std::string>& variables, int input,
            int output = -1) {
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (input >= 0) posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
  if (output >= 0) posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  pid_t child = -1;
  const int failure = posix_spawnp(&child, arguments[0].c_str(), &actions, &attributes,
                                   pointers_to(arguments).data(), pointers_to(variables).data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (failure != 0) {
    throw Failure(kFailed,
                  fmt::format("run {}: {}", arguments[0], std::system_category().message(failure)));
  }
  return child;
}

int wait_for(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

std::vector<std::string> environment(const std::vector<std::string>& without,
                                     const std::vector<std::string>& with) {
  std::vector<std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string_view name = text.substr(0, text.find('='));
    const bool replaced = std::any_of(with.begin(), with.end(), [name](std::string_view each) {
      return each.substr(0, each.find('=')) == name;
    });
    if (!replaced && std::find(without.begin(), without.end(), name) == without.end())
      variables.emplace_back(text);
  }
  variables.insert(variables.end(), with.begin(), with.end());
  return variables;
}

std::string find_program(std::string_view name) {
  const char* path = std::getenv("PATH");
  std::string_view rest = path == nullptr ? "/usr/bin:/bin" : path;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(':'), rest.size());
    const std::filesystem::path candidate = std::filesystem::path(rest.substr(0, end)) / name;
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return {};
}

int run_child(Interrupts& interrupts, std::vector<std::string> arguments,
              std::vector<std::string> variables) {
  const pid_t child = spawn(arguments, variables, -1);
  interrupts.hand_over(child);
  const int code = wait_for(child);
  interrupts.take_back();
  return code;
}

std::string output_of(Interrupts& interrupts, const std::string& command) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    throw Failure(kFailed,
                  fmt::format("pipe of {}: {}", command, std::system_category().message(errno)));
  }
  std::vector<std::string> arguments = {"/bin/sh", "-c", command};
  std::vector<std::string> variables = environment({}, {});
  pid_t child = -1;
  try {
    child = spawn(arguments, variables, -1, ends[1]);
  } catch (...) {
    close(ends[0]);
    close(ends[1]);
    throw;
  }
  close(ends[1]);
  interrupts.hand_over(child);
  std::string text;
  char block[1 << 14];
  for (ssize_t got = 0; (got = read(ends[0], block, sizeof block)) != 0;) {
    if (got > 0) text.append(block, static_cast<std::size_t>(got));
    if (got < 0 && errno != EINTR) break;
  }
  close(ends[0]);
  wait_for(child);
  interrupts.take_back();
  return text;
}

/// Bytes go down the pipe; once its reader is gone (a pager that was left) they go nowhere.
class CommandPipe::Buffer : public std::streambuf {
 public:
  explicit Buffer(int descriptor) : descriptor_(descriptor) {}
  ~Buffer() override { close(descriptor_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

 protected:
  int_type overflow(int_type c) override {
    const char byte = traits_type::to_char_type(c);
    return xsputn(&byte, 1) == 1 ? c : traits_type::eof();
  }
  std::streamsize xsputn(const char* data, std::streamsize size) override {
    for (std::streamsize done = 0; done < size;) {
      const ssize_t written =
          write(descriptor_, data + done, static_cast<std::size_t>(size - done));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return done;
      done += written;
    }
    return size;
  }

 private:
  int descriptor_;
};

CommandPipe::CommandPipe(Interrupts& interrupts, const std::string& command)
    : interrupts_(interrupts) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    throw Failure(kFailed,
                  fmt::format("pipe to {}: {}", command, std::system_category().message(errno)));
  }
  buffer_ = std::make_unique<Buffer>(ends[1]);
  stream_ = std::make_unique<std::ostream>(buffer_.get());
  std::vector<std::string> arguments = {"/bin/sh", "-c", command};
  std::vector<std::string> variables = environment({}, {});
  try {
    child_ = spawn(arguments, variables, ends[0]);
  } catch (...) {
    close(ends[0]);
    throw;
  }
  close(ends[0]);
  interrupts_.hand_over(child_);
}

CommandPipe::~CommandPipe() {
  stream_.reset();
  buffer_.reset();
  wait_for(child_);
  interrupts_.take_back();
}

std::ostream& CommandPipe::stream() {
  return *stream_;
}

}  // namespace snowglobe::cli
