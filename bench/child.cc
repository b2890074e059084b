// bench/child.cc - fork, exec and wait with a limit. Between fork and exec only system calls: the
// machine's threads may hold any lock.
#include "bench/child.h"

#include <csignal>
#include <fcntl.h>
#include <fmt/core.h>
#include <fstream>
#include <grp.h>
#include <iterator>
#include <stdexcept>
#include <string_view>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace bench {
namespace {

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> list;
  for (const std::string& word : words)
    list.push_back(const_cast<char*>(word.c_str()));  // execve does not write to them
  list.push_back(nullptr);
  return list;
}

std::vector<std::string> environment_of(const ChildOptions& options) {
  std::vector<std::string> words;
  for (char** word = environ; *word != nullptr; ++word) {
    const std::string_view text = *word;
    const std::string name(text.substr(0, text.find('=')));
    if (!name.starts_with("PG") && !options.environment.contains(name)) words.emplace_back(text);
  }
  for (const auto& [name, value] : options.environment)
    words.push_back(name + '=' + value);
  return words;
}

[[noreturn]] void become(char* const* argv, char* const* environment, const char* output,
                         bool unprivileged) {
  const int log = ::open(output, O_WRONLY | O_CREAT | O_APPEND, 0666);
  const int null = ::open("/dev/null", O_RDONLY);
  ::dup2(null, 0);
  ::dup2(log, 1);
  ::dup2(log, 2);
  const bool is_who_it_should_be =
      !unprivileged || ::geteuid() != 0 ||
      (::setgroups(0, nullptr) == 0 && ::setgid(kNobody) == 0 && ::setuid(kNobody) == 0);
  // A death of ours takes it along; set after the change of user, which clears it.
  ::prctl(PR_SET_PDEATHSIG, SIGQUIT);
  if (is_who_it_should_be && ::chdir("/") == 0) ::execve(argv[0], argv, environment);
  ::_exit(127);
}

}  // namespace

pid_t start_child(const std::vector<std::string>& argv, const ChildOptions& options) {
  const std::vector<std::string> environment = environment_of(options);
  const std::vector<char*> argument_list = pointers(argv);
  const std::vector<char*> environment_list = pointers(environment);
  const pid_t child = ::fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child == 0) {
    become(argument_list.data(), environment_list.data(), options.output.c_str(),
           options.unprivileged);
  }
  return child;
}

int wait_child(pid_t child, std::chrono::milliseconds limit) {
  const auto until = std::chrono::steady_clock::now() + limit;
  int status = 0;
  while (::waitpid(child, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() >= until) ::kill(child, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

std::string run_program(const std::vector<std::string>& argv, ChildOptions options,
                        const std::filesystem::path& folder, std::chrono::milliseconds limit) {
  std::string file = (folder / "output-XXXXXX").string();
  const int made = ::mkostemp(file.data(), O_CLOEXEC);
  if (made < 0) throw std::runtime_error("can not write to '" + folder.string() + "'");
  ::close(made);
  options.output = file;
  const int status = wait_child(start_child(argv, options), limit);
  std::ifstream stream(file, std::ios::binary);
  std::string output{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  std::filesystem::remove(file);
  if (status != 0) {
    throw std::runtime_error(
        fmt::format("{} ended with {}: {}", argv[0], status,
                    output.substr(output.size() - std::min<std::size_t>(output.size(), 300))));
  }
  return output;
}

}  // namespace bench
