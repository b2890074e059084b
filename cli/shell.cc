// cli/shell.cc - the prompt: the host's psql where there is one, else our own.
#include "cli/shell.h"

#include "cli/children.h"
#include "cli/line_editor.h"
#include "cli/sql_words.h"
#include "cli/terminal.h"
#include <fmt/format.h>
#include <fstream>
#include <iostream>
#include <sys/stat.h>
#include <unistd.h>

namespace snowglobe::cli {
namespace fs = std::filesystem;
namespace {

/// Empty if there is no place for it.
fs::path history_file(const char* name) {
  std::error_code failure;
  const bool made = fs::create_directories(home_folder(), failure);
  if (failure) return {};
  if (made) chmod(home_folder().c_str(), S_IRWXU);
  return home_folder() / name;
}

/// As of psql: what PSQLRC names, else ~/.psqlrc; before it the same with a version behind a dash.
fs::path start_file(const std::string& version) {
  const char* named = std::getenv("PSQLRC");
  const char* home_of_user = std::getenv("HOME");
  std::string file = named == nullptr ? std::string() : named;
  if (named == nullptr && home_of_user != nullptr) file = fs::path(home_of_user) / ".psqlrc";
  if (file.empty()) return {};
  for (const std::string& each :
       {fmt::format("{}-{}", file, version),
        fmt::format("{}-{}", file, version.substr(0, version.find('.'))), file}) {
    if (access(each.c_str(), R_OK) == 0) return each;
  }
  return {};
}

struct LastLine {
  std::string text;
  std::uintmax_t size = 0;
  fs::file_time_type time;
  bool operator==(const LastLine&) const = default;
};

LastLine last_line(const fs::path& file) {
  std::error_code ignored;
  LastLine last{{}, fs::file_size(file, ignored), fs::last_write_time(file, ignored)};
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);)
    if (!line.empty()) last.text = line;
  return last;
}

/// psql ends alike after \q and after Ctrl-D; only its history tells them apart.
bool left_on_purpose(const LastLine& before, const LastLine& after) {
  return after != before && (after.text.starts_with("\\q") || after.text.starts_with("quit") ||
                             after.text.starts_with("exit"));
}

void welcome(Context& context, Database& database, std::string_view kind) {
  const Globals& globals = context.globals;
  context.say(fmt::format("Snowglobe {}, PostgreSQL {} ({})", library_version(),
                          database.info().postgres_version, kind));
  if (globals.database.empty() && globals.save_as.empty())
    context.say(
        "In memory: it is gone when you leave. Ctrl-D leads to the guest's shell, \\q out.");
}

/// A folder of our own for a socket, which nobody else can reach; gone with the object.
class SocketFolder {
 public:
  SocketFolder() {
    // A socket's path must be short: 107 bytes with its name.
    fs::path base = fs::temp_directory_path();
    if (base.string().size() > 64) base = "/tmp";
    std::string pattern = base / "snowglobe-psql-XXXXXX";
    if (mkdtemp(pattern.data()) != nullptr) path_ = pattern;
  }
  SocketFolder(const SocketFolder&) = delete;
  SocketFolder& operator=(const SocketFolder&) = delete;
  ~SocketFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  /// Where psql finds the database: in this folder, or on loopback where there is none.
  [[nodiscard]] Endpoint expose(Database& database, const std::string& user) const {
    ExposeOptions options{.user = user};
    if (!path_.empty()) options.address = path_;
    return database.expose(options);
  }

 private:
  fs::path path_;
};

int run_psql(Context& context, Running& running, const ShellOptions& options) {
  const Globals& globals = context.globals;
  const SocketFolder folder;
  const Endpoint endpoint = folder.expose(running.database, globals.user);
  const fs::path history =
      options.no_history ? fs::path("/dev/null") : history_file("psql_history");
  std::vector<std::string> variables = {
      "PGHOST=" + endpoint.host(),    "PGPORT=" + std::to_string(endpoint.port()),
      "PGUSER=" + endpoint.user(),    "PGPASSWORD=" + endpoint.password(),
      "PGDATABASE=" + globals.dbname, "PGAPPNAME=" + globals.application};
  if (std::getenv("PSQL_HISTORY") == nullptr && !history.empty())
    variables.push_back("PSQL_HISTORY=" + history.string());
  std::vector<std::string> arguments = {"psql"};
  if (stdin_is_terminal() && globals.quiet) arguments.emplace_back("-q");
  if (options.no_start_file) arguments.emplace_back("-X");
  if (!stdin_is_terminal()) arguments.insert(arguments.end(), {"-v", "ON_ERROR_STOP=1"});
  arguments.insert(arguments.end(), options.psql_arguments.begin(), options.psql_arguments.end());
  const LastLine before = last_line(history);
  const int code =
      run_child(context.interrupts, std::move(arguments),
                environment({"PGHOSTADDR", "PGSERVICE", "PGSERVICEFILE", "PGSSLMODE"}, variables));
  running.database.hide();
  const bool onwards = code == 0 && stdin_is_terminal() && stdout_is_terminal() &&
                       options.psql_arguments.empty() &&
                       !left_on_purpose(before, last_line(history));
  return onwards ? run_console(context, running.database) : code;
}

int run_own(Context& context, Running& running, const ShellOptions& options) {
  EngineOptions engine_options = options.engine;
  engine_options.stop_at_error = false;
  engine_options.command_tags = true;
  SqlEngine engine(context, running.database, engine_options);
  LineEditor editor(context.interrupts, options.no_history ? fs::path() : history_file("history"),
                    sql_completer(engine), [&engine] { engine.drop_typed(); });
  const fs::path start =
      options.no_start_file ? fs::path() : start_file(running.database.info().postgres_version);
  if (!start.empty()) engine.run_start_file(start);
  const int code = engine.run(editor);
  if (engine.quit_was_said() || context.interrupts.closing().stop_requested()) return code;
  return run_console(context, running.database);
}

}  // namespace

int run_shell(Context& context, Running& running, const ShellOptions& options) {
  if (!stdin_is_terminal() && options.psql_arguments.empty()) {
    SqlEngine engine(context, running.database, options.engine);
    StreamSource source(std::cin);
    engine.run(source);
    return engine.finish();
  }
  const bool psql = !options.own && !find_program("psql").empty();
  if (!psql && !options.psql_arguments.empty())
    throw Failure(
        kUsage,
        "arguments after -- are psql's, and there is none here (Debian: postgresql-client)");
  if (stdin_is_terminal()) welcome(context, running.database, psql ? "psql" : "own shell");
  return psql ? run_psql(context, running, options) : run_own(context, running, options);
}

}  // namespace snowglobe::cli
