// cli/main.cc - the `snowglobe` command: version, sql, shell, doctor. Data goes to stdout, all else
// to stderr.
#include <snowglobe/snowglobe.hpp>

#include "cli/print.h"
#include "cli/shell.h"
#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <map>
#include <unistd.h>

namespace {

/// What a script can act on; the numbers are documented in docs/api.md and do not change.
enum ExitCode : int {
  kOk = 0,
  kFailed = 1,
  kUsage = 2,
  kSqlError = 3,
  kNoImage = 6,
  kNotStarted = 9,
};

struct Arguments {
  std::string image;
  unsigned memory_mb = 128;
  snowglobe::Executor executor = snowglobe::Executor::automatic;
  std::string sql;
  bool json = false;
  bool quiet = false;
};

std::map<std::string, snowglobe::Executor> executors() {
  return {{"automatic", snowglobe::Executor::automatic},
          {"translator", snowglobe::Executor::translator},
          {"interpreter", snowglobe::Executor::interpreter}};
}

snowglobe::Database open(const Arguments& arguments) {
  snowglobe::Options options;
  options.image = arguments.image;
  options.memory_mb = arguments.memory_mb;
  options.executor = arguments.executor;
  const bool chatty = !arguments.quiet && isatty(STDERR_FILENO) != 0;
  if (chatty) {
    options.on_progress = [](const snowglobe::Progress& progress) {
      std::fprintf(stderr, "\r\033[K[%d/%d] %s", progress.step, progress.steps,
                   progress.text.c_str());
    };
  }
  snowglobe::Database database = snowglobe::Database::open_in_memory(options);
  if (chatty) std::fprintf(stderr, "\r\033[K");
  return database;
}

int run_sql(const Arguments& arguments) {
  snowglobe::Database database = open(arguments);
  const snowglobe::Result result = database.query(arguments.sql);
  if (arguments.json) {
    snowglobe::cli::print_json(std::cout, result);
  } else {
    snowglobe::cli::print_table(std::cout, result);
  }
  return kOk;
}

int run_shell(const Arguments& arguments) {
  snowglobe::Database database = open(arguments);
  return snowglobe::cli::run_psql(database);
}

int run_version() {
  std::printf("snowglobe %s\n", std::string(snowglobe::library_version()).c_str());
  return kOk;
}

void print_translator(const snowglobe::TranslatorStats& stats) {
  std::printf(
      "translated   %llu blocks, %.1f MB of code; windows: %llu mappings, %llu evictions; %llu "
      "faults\n",
      static_cast<unsigned long long>(stats.blocks), static_cast<double>(stats.code_bytes) / 1e6,
      static_cast<unsigned long long>(stats.mappings),
      static_cast<unsigned long long>(stats.window_evictions),
      static_cast<unsigned long long>(stats.faults));
}

int run_doctor(const Arguments& arguments) {
  std::printf("library      %s\n", std::string(snowglobe::library_version()).c_str());
  snowglobe::Database database = open(arguments);
  const snowglobe::Info info = database.info();
  std::printf("image        %s (%.1f MB), id %s\n", info.image.c_str(),
              static_cast<double>(info.image_bytes) / 1e6, info.image_id.c_str());
  std::printf("kernel       %s\n", info.kernel_version.c_str());
  std::printf("PostgreSQL   %s\n", info.postgres_version.c_str());
  std::printf(
      "executor     %s%s%s\n", info.executor.c_str(),
      info.why_interpreted.empty() ? "" : "; no translator here: ", info.why_interpreted.c_str());
  std::printf("boot         %lld ms with %u MiB\n", static_cast<long long>(info.boot_time.count()),
              info.memory_mb);
  const auto start = std::chrono::steady_clock::now();
  const std::string answer = database.version();
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  std::printf("first query  %.0f ms: %s\n", took.count(), answer.c_str());
  if (info.executor == "translator") print_translator(database.stats().translator);
  std::printf("everything works\n");
  return kOk;
}

/// Runs a verb; turns exceptions into a line on stderr and an exit code.
template <class Fn>
int guarded(const Fn& verb) {
  const auto complain = [](const std::exception& error) {
    std::fprintf(stderr, "snowglobe: %s\n", error.what());
  };
  try {
    return verb();
  } catch (const snowglobe::SqlError& error) {
    complain(error);
    return kSqlError;
  } catch (const snowglobe::ImageError& error) {
    complain(error);
    return kNoImage;
  } catch (const snowglobe::TimeoutError& error) {
    complain(error);
    return kNotStarted;
  } catch (const snowglobe::GuestCrashed& error) {
    complain(error);
    return kNotStarted;
  } catch (const snowglobe::InvalidArgument& error) {
    complain(error);
    return kUsage;
  } catch (const std::exception& error) {
    complain(error);
    return kFailed;
  }
}

}  // namespace

int main(int count, char** values) try {
  Arguments arguments;
  CLI::App app("PostgreSQL in an emulated machine inside this process", "snowglobe");
  app.require_subcommand(1);
  app.add_option("--image", arguments.image, "Folder of the guest image")
      ->envname("SNOWGLOBE_IMAGE");
  app.add_option("--memory", arguments.memory_mb, "RAM of the machine in MiB")
      ->envname("SNOWGLOBE_MEMORY_MB");
  app.add_option("--executor", arguments.executor,
                 "Who runs the guest: automatic, translator or interpreter")
      ->transform(CLI::CheckedTransformer(executors(), CLI::ignore_case));
  app.add_flag("-q,--quiet", arguments.quiet, "No progress on the terminal");
  const CLI::App* version = app.add_subcommand("version", "Print the version of the library");
  CLI::App* sql = app.add_subcommand("sql", "Run one statement in a fresh database");
  sql->add_option("statement", arguments.sql, "The statement")->required();
  sql->add_flag("--json", arguments.json, "An array of objects instead of a table");
  const CLI::App* shell = app.add_subcommand("shell", "psql on a fresh database");
  const CLI::App* doctor = app.add_subcommand("doctor", "Check that image and machine work here");
  try {
    app.parse(count, values);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kOk : kUsage;
  }
  return guarded([&] {
    if (version->parsed()) return run_version();
    if (shell->parsed()) return run_shell(arguments);
    if (doctor->parsed()) return run_doctor(arguments);
    return run_sql(arguments);
  });
} catch (const std::exception& error) {  // what guarded() did not get to see: out of memory
  std::fprintf(stderr, "snowglobe: %s\n", error.what());
  return kFailed;
}
