// cli/main.cc - the `snowglobe` command: reads the command line and runs one verb. Data goes to
// stdout, all else to stderr; docs/cli.md has verbs, exit codes and variables.
#include "cli/command_line.h"
#include "cli/context.h"
#include "cli/verbs.h"
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fmt/format.h>
#include <iostream>
#include <map>
#include <poll.h>
#include <unistd.h>

namespace snowglobe::cli {
namespace {

/// A word for a value; CLI11's own transformer says only that a check failed.
template <class Enum>
CLI::Validator one_of(const std::map<std::string, Enum>& values) {
  return CLI::Validator(
      [values](std::string& word) -> std::string {
        std::string known;
        for (const auto& [name, value] : values) {
          if (CLI::detail::to_lower(word) == name) {
            word = std::to_string(static_cast<int>(value));
            return {};
          }
          known += (known.empty() ? "" : ", ") + name;
        }
        return fmt::format("\"{}\" is none of {}", word, known);
      },
      "");
}

std::string no_size(const std::string& word) {
  if (!word.empty() && word.find_first_not_of("0123456789") == std::string::npos) return {};
  return fmt::format("\"{}\" is no number of MiB (SNOWGLOBE_MEMORY_MB is read as well)", word);
}

std::map<std::string, Executor> executors() {
  return {{"automatic", Executor::automatic},
          {"translator", Executor::translator},
          {"interpreter", Executor::interpreter}};
}

std::map<std::string, Durability> durabilities() {
  return {{"full", Durability::full}, {"relaxed", Durability::relaxed}, {"none", Durability::none}};
}

void add_global_options(CLI::App& app, Globals& globals) {
  app.add_option("--db", globals.database, "The database, a folder; without one: in memory");
  app.add_flag("--create", globals.create, "Make the database if it is not there");
  app.add_flag("--read-only", globals.read_only, "Change nothing; others may read it meanwhile");
  app.add_option("--durability", globals.durability,
                 "full, relaxed or none: when a commit is on disk")
      ->transform(one_of(durabilities()));
  app.add_option("--store", globals.store,
                 "Folder of snapshots; else the database's, else SNOWGLOBE_HOME/snapshots");
  app.add_option("--from", globals.from,
                 "Start from this snapshot of the store, or this exported file");
  app.add_option("--save-as", globals.save_as,
                 "Put the machine into the store by this name at the end");
  app.add_option("-U,--user", globals.user, "Role to log in as")->envname("PGUSER");
  app.add_option("-d,--dbname", globals.dbname, "Database of the server to log in to")
      ->envname("PGDATABASE");
  app.add_option("--application", globals.application, "Name in pg_stat_activity")
      ->envname("PGAPPNAME");
  app.add_option("--image", globals.image, "Folder of the guest image")->envname("SNOWGLOBE_IMAGE");
  app.add_option("--memory", globals.memory_mb,
                 "RAM of the machine in MiB, 48 to 1024, a multiple of 4")
      ->envname("SNOWGLOBE_MEMORY_MB")
      ->check(CLI::Validator(no_size, ""));
  app.add_option("--executor", globals.executor, "automatic, translator or interpreter")
      ->transform(one_of(executors()));
  app.add_flag("--cold", globals.cold, "Boot the kernel instead of starting warm");
  app.add_flag("--json", globals.json, "Output for programs; errors too, on stderr");
  app.add_flag("-q,--quiet", globals.quiet, "Data and errors only");
  app.add_flag("-v,--verbose", globals.verbose, "The log on stderr; twice: all of it");
  app.add_flag("-y,--yes", globals.yes, "Do not ask");
}

void describe(CLI::App& app) {
  app.set_version_flag("--version", "snowglobe " + std::string(library_version()));
  app.set_help_all_flag("--help-all", "Help for all verbs");
  app.require_subcommand(1);
}

/// After the verbs are there, which would inherit the first one.
void add_footers(CLI::App& app) {
  for (CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    const std::string own = verb->get_footer();
    verb->footer(own + (own.empty() ? "" : "\n\n") +
                 "Options of every verb (database, snapshots, machine, output): snowglobe --help");
  }
  app.footer(
      "First steps:\n"
      "  snowglobe                              a prompt, in memory\n"
      "  snowglobe \"select version()\"           one statement\n"
      "  snowglobe run -- npm test              a program with DATABASE_URL set\n"
      "  snowglobe doctor                       does everything work here?\n\n"
      "Exit codes: 0 ok, 1 failed, 2 usage, 3 SQL error, 4 not found, 5 locked, 6 image, 7 "
      "incompatible,\n"
      "8 damaged, 9 the guest did not start, 10 nothing can listen there, 130 interrupted.\n"
      "`man snowglobe` and docs/cli.md say more.");
}

/// PGUSER="" is as if it were not set.
void fill_empty(Globals& globals) {
  if (globals.user.empty()) globals.user = "postgres";
  if (globals.dbname.empty()) globals.dbname = "postgres";
  if (const char* log = std::getenv("SNOWGLOBE_LOG"); log != nullptr) globals.log = log;
}

void take_database(Globals& globals, const std::string& named) {
  if (!named.empty() && !globals.database.empty())
    throw Failure(kUsage,
                  fmt::format("two databases: {} and --db {}", named, globals.database.string()));
  if (!named.empty()) globals.database = named;
  if (globals.database == ":memory:") globals.database.clear();
  std::error_code ignored;
  if (std::filesystem::is_regular_file(globals.database, ignored)) {
    if (globals.database.extension() == ".sql")
      throw Failure(kUsage, fmt::format("{0} is a file of SQL: `snowglobe sql -f {0}` runs it",
                                        globals.database.string()));
    // A snapshot in one file: a machine in memory that begins with it.
    globals.from = globals.database;
    globals.database.clear();
  }
}

/// Of a pipe on stdout.
bool reader_has_gone() {
  pollfd out{STDOUT_FILENO, POLLOUT, 0};
  return poll(&out, 1, 0) > 0 && (out.revents & POLLERR) != 0;
}

/// stdout may be a full disk, or a reader that has gone.
int flushed(int code) {
  std::cout.flush();
  const bool written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  if (std::cout.good() && written) return code;
  if (!reader_has_gone()) std::fputs("snowglobe: standard output cannot be written\n", stderr);
  return code == kOk ? kFailed : code;
}

int run(int count, char** values, Context& context) {
  CLI::App app("PostgreSQL in an emulated machine inside this process", "snowglobe");
  describe(app);
  add_global_options(app, context.globals);
  for (const auto add :
       {add_sql_verbs, add_serve_verbs, add_state_verbs, add_store_verbs, add_care_verbs,
        add_database_verbs, add_guest_verbs, add_about_verbs, add_completion_verb})
    add(app, context);
  add_footers(app);
  for (CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; }))
    verb->fallthrough();
  CommandLine line = split_command_line(app, {values + 1, values + count});
  context.tail = std::move(line.tail);
  std::vector<std::string> reversed(line.arguments.rbegin(), line.arguments.rend());
  try {
    app.parse(reversed);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::CallForAllHelp& help) {
    return app.exit(help);
  } catch (const CLI::CallForVersion& version) {
    return app.exit(version);
  } catch (const CLI::ParseError& error) {
    throw Failure(kUsage, fmt::format("{}; see snowglobe {}--help", error.what(),
                                      app.get_subcommands().empty()
                                          ? ""
                                          : app.get_subcommands().front()->get_name() + " "));
  }
  fill_empty(context.globals);
  take_database(context.globals, line.database);
  return context.action();
}

/// --json counts also where the command line cannot be read.
bool asks_for_json(int count, char** values) {
  for (int i = 1; i < count && std::string_view(values[i]) != "--"; ++i)
    if (std::string_view(values[i]) == "--json") return true;
  return false;
}

int guarded(int count, char** values) {
  std::signal(SIGPIPE, SIG_IGN);  // a pager that was left must not end a machine
  Interrupts interrupts;
  Context context(interrupts);
  try {
    return flushed(run(count, values, context));
  } catch (const Exit& exit) {
    return exit.code;
  } catch (...) {
    const int code = report_failure(context.globals.json || asks_for_json(count, values));
    return interrupts.interrupted() ? interrupts.exit_code() : code;
  }
}

}  // namespace
}  // namespace snowglobe::cli

int main(int count, char** values) {
  try {
    return snowglobe::cli::guarded(count, values);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "snowglobe: %s\n", error.what());
    return snowglobe::cli::kFailed;
  }
}
