// cli/verbs_sql.cc - shell and sql.
#include "cli/files.h"
#include "cli/shell.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include <fmt/format.h>
#include <fstream>
#include <iostream>

namespace snowglobe::cli {
namespace {

struct OutputArguments {
  bool csv = false, unaligned = false, tuples_only = false, expanded = false, timing = false;
  std::string null, separator = "|";
};

struct SqlArguments : OutputArguments {
  std::vector<std::string> statements;
  std::vector<std::string> files;
  bool single_transaction = false, go_on = false;
};

struct ShellArguments : OutputArguments {
  bool own = false, no_history = false, no_start_file = false;
};

void add_output_options(CLI::App& verb, OutputArguments& arguments) {
  verb.add_flag("--csv", arguments.csv, "Rows as CSV, with a header");
  verb.add_flag("-A,--no-align", arguments.unaligned, "Columns separated by |");
  verb.add_option("-F,--field-separator", arguments.separator, "Separates columns with -A");
  verb.add_flag("-t,--tuples-only", arguments.tuples_only, "Rows only: no header, no count");
  verb.add_flag("-x,--expanded", arguments.expanded, "A record below the other");
  verb.add_option("--null", arguments.null, "What stands for NULL");
  verb.add_flag("--timing", arguments.timing, "Print how long each statement takes");
}

EngineOptions engine_options(const Context& context, const OutputArguments& arguments) {
  if (arguments.csv && context.globals.json)
    throw Failure(kUsage, "--csv and --json: say one of them");
  EngineOptions options;
  options.format.format = context.globals.json  ? Format::json
                          : arguments.csv       ? Format::csv
                          : arguments.unaligned ? Format::unaligned
                                                : Format::aligned;
  options.format.expanded = arguments.expanded ? Expanded::on : Expanded::off;
  options.format.tuples_only = arguments.tuples_only;
  options.format.null = arguments.null;
  options.format.separator = arguments.separator;
  options.timing = arguments.timing;
  options.json_errors = context.globals.json;
  options.command_tags =
      options.format.format == Format::aligned && !context.globals.quiet && stdout_is_terminal();
  return options;
}

int run_file(SqlEngine& engine, const std::string& path) {
  std::ifstream file;
  if (path != "-") file.open(path);
  StreamSource source(path == "-" ? std::cin : file);
  return engine.run(source);
}

int run_all(SqlEngine& engine, const SqlArguments& arguments) {
  const auto stops = [&arguments](int code) { return code != kOk && !arguments.go_on; };
  int code = kOk;
  for (const std::string& path : arguments.files)
    if (stops(code = run_file(engine, path))) return code;
  for (const std::string& statement : arguments.statements) {
    ArgumentSource source(statement);
    if (stops(code = engine.run(source))) return code;
  }
  if (arguments.files.empty() && arguments.statements.empty()) return run_file(engine, "-");
  return code;
}

int sql(Context& context, const SqlArguments& arguments) {
  EngineOptions options = engine_options(context, arguments);
  options.stop_at_error = !arguments.go_on;
  options.single_transaction = arguments.single_transaction;
  for (const std::string& path : arguments.files)  // before a machine starts
    if (path != "-") require_file(path);
  Running running(context);
  SqlEngine engine(context, running.database, options);
  run_all(engine, arguments);
  const int code = engine.finish();
  if (code == kOk) running.finish();
  return code;
}

int shell(Context& context, const ShellArguments& arguments) {
  ShellOptions options;
  context.may_ask_to_create = true;
  options.own = arguments.own;
  options.no_history = arguments.no_history;
  options.no_start_file = arguments.no_start_file;
  options.psql_arguments = context.tail;
  options.engine = engine_options(context, arguments);
  Running running(context);
  const int code = run_shell(context, running, options);
  running.finish();
  return code;
}

}  // namespace

void add_sql_verbs(CLI::App& app, Context& context) {
  {
    auto [verb, arguments] = add_verb<ShellArguments>(
        app, context, "shell", "A prompt for SQL: psql where it is installed, else our own", shell);
    verb->footer("Say it as: snowglobe [DATABASE] [shell] [OPTIONS] [-- ARGUMENTS OF PSQL...]");
    add_output_options(*verb, *arguments);
    verb->add_flag("--own", arguments->own, "Our own shell, also where psql is installed");
    verb->add_flag("-X,--no-psqlrc", arguments->no_start_file, "Do not read ~/.psqlrc or PSQLRC");
    verb->add_flag("--no-history", arguments->no_history, "Keep no history of what is typed");
  }
  auto [verb, arguments] = add_verb<SqlArguments>(
      app, context, "sql", "Run statements: arguments, files, or standard input", sql);
  add_output_options(*verb, *arguments);
  verb->add_option(
      "statement", arguments->statements,
      "Statements or backslash commands; without any they are read from standard input");
  verb->add_option("-f,--file", arguments->files, "Run a file first (- is standard input)")
      ->allow_extra_args(false);
  verb->add_flag("-1,--single-transaction", arguments->single_transaction,
                 "All of it happens, or nothing");
  verb->add_flag("--go-on", arguments->go_on, "Go on after an error; it exits with 3 all the same");
}

}  // namespace snowglobe::cli
