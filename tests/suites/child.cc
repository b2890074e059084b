// tests/suites/child.cc - starts a program in a process group of its own and waits for it.
#include "tests/suites/child.h"

#include <fcntl.h>
#include <fstream>
#include <iterator>
#include <signal.h>
#include <spawn.h>
#include <string_view>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace snowglobe::testing {
namespace {

constexpr int kNotStarted = 127;

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> list;
  for (std::string& word : words)
    list.push_back(word.data());
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

}  // namespace

int run_child(const std::vector<std::string>& arguments, const ChildOptions& options) {
  std::vector<std::string> argument_words = arguments;
  std::vector<std::string> environment_words = environment_of(options);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addchdir_np(&files, options.directory.c_str());
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  const std::string output = options.output.empty() ? "/dev/null" : options.output.string();
  posix_spawn_file_actions_addopen(&files, 1, output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (!options.errors.empty()) {
    posix_spawn_file_actions_addopen(&files, 2, options.errors.c_str(),
                                     O_WRONLY | O_CREAT | O_TRUNC, 0644);
  } else {
    posix_spawn_file_actions_adddup2(&files, 1, 2);
  }
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  pid_t child = -1;
  const int failed =
      posix_spawnp(&child, argument_words[0].c_str(), &files, &attributes,
                   pointers(argument_words).data(), pointers(environment_words).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (failed != 0) return kNotStarted;

  const auto deadline = std::chrono::steady_clock::now() + options.limit;
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() >= deadline) {
      kill(-child, SIGKILL);  // the group that we made for it
      waitpid(child, &status, 0);
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace snowglobe::testing
