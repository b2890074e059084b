// cli/shell.cc - starts psql and waits for it.
#include "cli/shell.h"

#include <cerrno>
#include <csignal>
#include <spawn.h>
#include <string_view>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>
#include <vector>

namespace snowglobe::cli {
namespace {

// The caller's environment with our connection in place of whatever PG* names one.
std::vector<std::string> environment_for(const Endpoint& endpoint) {
  constexpr std::string_view kReplaced[] = {
      "PGHOST=", "PGHOSTADDR=", "PGPORT=", "PGUSER=", "PGPASSWORD=", "PGSERVICE=", "PGDATABASE="};
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    bool replaced = false;
    for (const std::string_view prefix : kReplaced)
      replaced |= text.starts_with(prefix);
    if (!replaced) environment.emplace_back(text);
  }
  environment.push_back("PGHOST=" + endpoint.host());
  environment.push_back("PGPORT=" + std::to_string(endpoint.port()));
  environment.push_back("PGUSER=" + endpoint.user());
  environment.push_back("PGPASSWORD=" + endpoint.password());
  environment.push_back("PGDATABASE=postgres");
  return environment;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (std::string& text : texts)
    pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

int run_psql(Database& database) {
  const Endpoint endpoint = database.expose();
  std::vector<std::string> environment = environment_for(endpoint);
  std::vector<std::string> arguments = {"psql"};
  std::signal(SIGINT, SIG_IGN);  // Ctrl-C is psql's: it cancels a statement
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGINT);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  pid_t child = -1;
  const int failure = posix_spawnp(&child, "psql", nullptr, &attributes,
                                   pointers_to(arguments).data(), pointers_to(environment).data());
  posix_spawnattr_destroy(&attributes);
  if (failure != 0) {
    throw Error(Errc::unsupported, std::string("run psql: ") +
                                       std::system_category().message(failure) +
                                       "; install it (Debian: postgresql-client)");
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace snowglobe::cli
