// cli/verbs_database.cc - databases in folders: init, dump, load.
#include "cli/files.h"
#include "cli/json.h"
#include "cli/sql_engine.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include <fmt/format.h>
#include <fstream>
#include <iostream>
#include <sstream>

namespace snowglobe::cli {
namespace fs = std::filesystem;
namespace {

struct InitArguments {
  std::string path;
};
struct DumpArguments {
  std::string file;
  bool schema_only = false, data_only = false, clean = false, force = false;
  std::vector<std::string> tables;
};
struct LoadArguments {
  std::string file = "-";
  bool go_on = false, clean = false;
};
struct BackupArguments {
  std::string destination;
};
struct CompactArguments {
  bool full = false, dry_run = false;
};
struct Nothing {};

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

/// What of pg_dump's options somebody asked for.
std::vector<std::string> dump_words(const DumpArguments& arguments) {
  std::vector<std::string> words;
  if (arguments.schema_only) words.emplace_back("--schema-only");
  if (arguments.data_only) words.emplace_back("--data-only");
  for (const std::string& table : arguments.tables)
    words.push_back("--table=" + table);
  return words;
}

/// As SQL, by the guest's pg_dump, which always has the server's version.
void dump_sql(const Context& context, Database& database, const DumpArguments& arguments) {
  std::vector<std::string> command = {"pg_dump", "-U", context.globals.user, "-d",
                                      context.globals.dbname};
  for (std::string& word : dump_words(arguments))
    command.push_back(std::move(word));
  if (arguments.clean) command.insert(command.end(), {"--clean", "--if-exists"});
  const bool to_file = !arguments.file.empty() && arguments.file != "-";
  std::optional<NewFile> file;
  if (to_file) file.emplace(arguments.file);
  std::ostream& out = to_file ? file->stream() : std::cout;
  ExecOptions options;
  options.limit = std::chrono::hours(24);
  options.on_out = [&out](std::string_view text) { out << text; };
  const ExecResult result = database.guest().exec(command, options);
  if (result.exit_code != 0) throw Failure(kSqlError, "pg_dump: " + result.err);
  if (to_file) file->keep();
}

bool wants_sql(const std::string& file) {
  return file.empty() || file == "-" || file.ends_with(".sql");
}

int dump(Context& context, const DumpArguments& arguments) {
  const bool sql = wants_sql(arguments.file);
  if (!arguments.file.empty() && arguments.file != "-" && !arguments.force &&
      fs::exists(arguments.file))
    throw Failure(kFailed, fmt::format("{} is there already; --force replaces it", arguments.file));
  require_folder_of(arguments.file);
  if (!sql && arguments.clean) throw Failure(kUsage, "--clean belongs to `load`, for an archive");
  Running running(context);
  Progress progress(context.globals.quiet);
  progress.phase("dumping");
  if (sql) {
    dump_sql(context, running.database, arguments);
  } else {
    running.database.dump(arguments.file, {.database = context.globals.dbname,
                                           .arguments = dump_words(arguments),
                                           .overwrite = arguments.force});
  }
  progress.end();
  if (arguments.file.empty() || arguments.file == "-") return kOk;
  const auto bytes = fs::file_size(arguments.file);
  if (context.globals.json) {
    print_json({{"file", arguments.file}, {"bytes", bytes}});
  } else {
    context.say(fmt::format("{}: {}", arguments.file, human_bytes(bytes)));
  }
  return kOk;
}

/// pg_dump's custom format.
bool is_archive(const std::string& path) {
  std::string head(5, '\0');
  std::ifstream(path, std::ios::binary).read(head.data(), 5);
  return head == "PGDMP";
}

int load_sql(Context& context, Running& running, const LoadArguments& arguments) {
  EngineOptions options;
  options.stop_at_error = !arguments.go_on;
  options.single_transaction = !arguments.go_on;
  options.format.format = Format::unaligned;
  options.format.tuples_only = true;
  options.json_errors = context.globals.json;
  options.discard_rows = true;
  SqlEngine engine(context, running.database, options);
  std::ifstream file;
  if (arguments.file != "-") file.open(arguments.file, std::ios::binary);
  StreamSource source(arguments.file == "-" ? std::cin : file);
  engine.run(source);
  return engine.finish();
}

int load(Context& context, const LoadArguments& arguments) {
  if (arguments.file != "-") require_file(arguments.file);
  if (arguments.file.ends_with(".snap"))
    throw Failure(kUsage,
                  fmt::format("{0} is named as an exported snapshot: `snowglobe {0}` starts "
                              "it, `init NAME.globe --from {0}` makes a database of it",
                              arguments.file));
  Running running(context);
  Progress progress(context.globals.quiet);
  progress.phase("loading");
  int code = kOk;
  if (arguments.file != "-" && is_archive(arguments.file)) {
    running.database.load(arguments.file,
                          {.database = context.globals.dbname, .clean = arguments.clean});
  } else {
    code = load_sql(context, running, arguments);
  }
  if (code == kOk) context.session(running.database).execute("analyze");
  progress.end();
  if (code == kOk) running.finish();
  return code;
}

int backup(Context& context, const BackupArguments& arguments) {
  if (fs::exists(fs::path(arguments.destination) / "database.json"))
    throw Failure(kFailed, fmt::format("{} is a database already; name a folder that is not there",
                                       arguments.destination));
  Running running(context);
  Progress progress(context.globals.quiet);
  progress.phase("copying to " + arguments.destination);
  const BackupResult result = running.database.backup_to(arguments.destination);
  progress.end();
  if (context.globals.json) {
    print_json({{"database", result.path.string()}, {"id", result.id}, {"bytes", result.bytes}});
  } else {
    std::cout << result.path.string() << '\n';
    context.say(human_bytes(result.bytes));
  }
  return kOk;
}

int check(Context& context, const Nothing&) {
  Running running(context);
  Progress progress(context.globals.quiet);
  progress.phase("reading every page");
  const CheckReport report = running.database.check();
  progress.end();
  if (context.globals.json) {
    print_json({{"clean", report.clean()},
                {"databases", report.databases},
                {"relations", report.relations},
                {"problems", report.problems}});
  } else {
    for (const std::string& problem : report.problems)
      std::cout << problem << '\n';
    std::cout << fmt::format("{} databases, {} relations: {}\n", report.databases, report.relations,
                             report.clean() ? "all sound" : "DAMAGED");
  }
  return report.clean() ? kOk : kDamaged;
}

/// What the files of the guest's data disk take there.
std::uint64_t used_in_guest(Database& database) {
  const std::string folder = database.one<std::string>("show data_directory");
  std::istringstream table(database.guest().exec({"df", "-kP", folder}).out);
  std::string header, device;
  std::uint64_t size = 0, used = 0;
  std::getline(table, header);
  table >> device >> size >> used;
  return used << 10;
}

/// Changes nothing: what could be given back without writing tables anew.
int would_compact(Context& context) {
  const std::filesystem::path& path = context.globals.database;
  // Asked for while it is closed.
  const std::uint64_t on_host = context.database_exists() ? Database::inspect(path).disk_bytes : 0;
  Running running(context);
  const std::uint64_t before = path.empty() ? running.database.stats().disk_bytes : on_host;
  const std::uint64_t used = used_in_guest(running.database);
  const std::uint64_t unused = before > used ? before - used : 0;
  if (context.globals.json) {
    print_json({{"before_bytes", before},
                {"used_bytes", used},
                {"unused_bytes", unused},
                {"dry_run", true}});
  } else {
    std::cout << fmt::format(
        "{} on the host, {} of files in the guest: about {} could be given back, and what tables "
        "have free inside\n",
        human_bytes(before), human_bytes(used), human_bytes(unused));
  }
  return kOk;
}

int compact(Context& context, const CompactArguments& arguments) {
  if (arguments.dry_run) return would_compact(context);
  Running running(context);
  Progress progress(context.globals.quiet);
  progress.phase("compacting");
  const CompactReport report = running.database.compact({.full = arguments.full});
  progress.end();
  if (context.globals.json) {
    print_json({{"before_bytes", report.before}, {"after_bytes", report.after}});
  } else {
    std::cout << fmt::format("{} before, {} now\n", human_bytes(report.before),
                             human_bytes(report.after));
  }
  running.finish();
  return kOk;
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
    auto [verb, arguments] = add_verb<DumpArguments>(
        app, context, "dump", "Write the database as SQL, or as an archive of pg_dump", dump);
    verb->add_option(
        "file", arguments->file,
        "Where: NAME.sql is SQL, another name an archive; without it SQL on standard output");
    verb->add_flag("--schema-only", arguments->schema_only, "No rows");
    verb->add_flag("--data-only", arguments->data_only, "Only rows");
    verb->add_flag("--clean", arguments->clean, "In SQL: drop what is there before it is made");
    verb->add_flag("--force", arguments->force, "Replace the file if it is there");
    verb->add_option("-t,--table", arguments->tables, "Only tables that fit this pattern")
        ->allow_extra_args(false);
  }
  {
    auto [verb, arguments] = add_verb<LoadArguments>(
        app, context, "load", "Run a dump, SQL or an archive, wholly or not at all", load);
    verb->add_option("file", arguments->file, "The dump; - is SQL on standard input")
        ->capture_default_str();
    verb->add_flag("--clean", arguments->clean, "Of an archive: drop what is there first");
    verb->add_flag("--go-on", arguments->go_on, "SQL: go on after errors, without a transaction");
  }
  {
    auto [verb, arguments] = add_verb<BackupArguments>(
        app, context, "backup", "Copy the database as it is now into another folder", backup);
    verb->add_option("destination", arguments->destination, "The new folder")->required();
  }
  add_verb<Nothing>(app, context, "check", "Read every page of every table and index", check);
  auto [verb, arguments] = add_verb<CompactArguments>(
      app, context, "compact", "Give room that is free back to the host", compact);
  verb->add_flag("--full", arguments->full, "Write every table anew, each locked meanwhile");
  verb->add_flag("-n,--dry-run", arguments->dry_run, "Only say how much there is to give back");
}

}  // namespace snowglobe::cli
