// cli/verbs_database.cc - databases in folders: init, dump, load.
#include "cli/json.h"
#include "cli/sql_engine.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include <fmt/format.h>
#include <fstream>
#include <iostream>

namespace snowglobe::cli {
namespace fs = std::filesystem;
namespace {

struct InitArguments {
  std::string path;
};
struct DumpArguments {
  std::string file;
  bool schema_only = false, data_only = false, clean = false;
  std::vector<std::string> tables;
};
struct LoadArguments {
  std::string file = "-";
  bool go_on = false;
};

int init(Context& context, const InitArguments& arguments) {
  Globals& globals = context.globals;
  if (!arguments.path.empty()) globals.database = arguments.path;
  if (globals.database.empty())
    throw Failure(kUsage, "init needs the folder of the new database: snowglobe init shop.globe");
  if (context.database_exists())
    throw Failure(kFailed, fmt::format("{} is a database already", globals.database.string()));
  globals.create = true;
  const Running running(context);
  if (globals.json) {
    print_json({{"database", globals.database.string()},
                {"postgres", running.database.info().postgres_version}});
  } else {
    std::cout << globals.database.string() << '\n';
  }
  return kOk;
}

std::vector<std::string> dump_command(const Context& context, const DumpArguments& arguments) {
  std::vector<std::string> command = {"pg_dump", "-U", context.globals.user, "-d",
                                      context.globals.dbname};
  if (arguments.schema_only) command.emplace_back("--schema-only");
  if (arguments.data_only) command.emplace_back("--data-only");
  if (arguments.clean) command.insert(command.end(), {"--clean", "--if-exists"});
  for (const std::string& table : arguments.tables)
    command.push_back("--table=" + table);
  return command;
}

/// The server's own pg_dump: it always has the server's version.
int dump(Context& context, const DumpArguments& arguments) {
  Running running(context);
  Progress progress(context.globals.quiet);
  progress.phase("dumping");
  const ExecResult result = running.database.guest().exec(dump_command(context, arguments),
                                                          {.limit = std::chrono::hours(24)});
  progress.end();
  if (result.exit_code != 0) throw Failure(kSqlError, "pg_dump: " + result.err);
  if (arguments.file.empty() || arguments.file == "-") {
    std::cout << result.out;
    return kOk;
  }
  std::ofstream file(arguments.file, std::ios::binary);
  file << result.out;
  if (!file.flush()) throw Failure(kFailed, fmt::format("cannot write {}", arguments.file));
  context.say(fmt::format("{}: {}", arguments.file, human_bytes(result.out.size())));
  if (context.globals.json) print_json({{"file", arguments.file}, {"bytes", result.out.size()}});
  return kOk;
}

int load(Context& context, const LoadArguments& arguments) {
  std::ifstream file;
  if (arguments.file != "-") {
    file.open(arguments.file, std::ios::binary);
    if (!file) throw Failure(kNotFound, fmt::format("cannot read {}", arguments.file));
    if (file.peek() == 'P' && [&] {
          std::string head(5, '\0');
          file.read(head.data(), 5);
          file.seekg(0);
          return head == "PGDMP";
        }())
      throw Failure(kUsage,
                    fmt::format("{} is an archive of pg_dump: pg_restore -f - {} | snowglobe load",
                                arguments.file, arguments.file));
  }
  Running running(context);
  EngineOptions options;
  options.stop_at_error = !arguments.go_on;
  options.single_transaction = !arguments.go_on;
  options.format.format = Format::unaligned;
  options.format.tuples_only = true;
  options.json_errors = context.globals.json;
  SqlEngine engine(context, running.database, options);
  StreamSource source(arguments.file == "-" ? std::cin : file);
  Progress progress(context.globals.quiet);
  progress.phase("loading");
  engine.run(source);
  const int code = engine.finish();
  progress.end();
  if (code == kOk) {
    running.database.execute("analyze");
    running.finish();
  }
  return code;
}

}  // namespace

void add_database_verbs(CLI::App& app, Context& context) {
  {
    auto [verb, arguments] =
        add_verb<InitArguments>(app, context, "init", "Make a database in a folder", init);
    verb->add_option("path", arguments->path,
                     "The folder, e.g. shop.globe; its parent must be there");
  }
  {
    auto [verb, arguments] =
        add_verb<DumpArguments>(app, context, "dump", "Write the database as SQL (pg_dump)", dump);
    verb->add_option("file", arguments->file, "Where; without it standard output");
    verb->add_flag("--schema-only", arguments->schema_only, "No rows");
    verb->add_flag("--data-only", arguments->data_only, "Only rows");
    verb->add_flag("--clean", arguments->clean, "Drop what is there before it is made");
    verb->add_option("-t,--table", arguments->tables, "Only tables that fit this pattern")
        ->allow_extra_args(false);
  }
  auto [verb, arguments] =
      add_verb<LoadArguments>(app, context, "load", "Run a dump in SQL, as one transaction", load);
  verb->add_option("file", arguments->file, "The dump; - is standard input")->capture_default_str();
  verb->add_flag("--go-on", arguments->go_on, "Go on after errors, without a transaction");
}

}  // namespace snowglobe::cli
