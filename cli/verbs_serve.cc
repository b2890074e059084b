// cli/verbs_serve.cc - run (a program with the database in its environment) and expose.
#include "cli/children.h"
#include "cli/json.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include <fmt/format.h>
#include <fstream>
#include <iostream>
#include <poll.h>
#include <unistd.h>

namespace snowglobe::cli {
namespace {

struct NoArguments {};

struct ExposeArguments {
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;
  std::string password;
};

int run(Context& context, const NoArguments&) {
  if (context.tail.empty()) throw Failure(kUsage, "run needs a program: snowglobe run -- PROGRAM");
  const std::string& program = context.tail.at(0);
  const bool is_path = program.find('/') != std::string::npos;
  if (is_path ? access(program.c_str(), F_OK) != 0 : find_program(program).empty()) {
    fmt::print(stderr, "snowglobe: there is no program {}{}\n", program, is_path ? "" : " in PATH");
    return 127;  // as a shell says it
  }
  Running running(context);
  const Globals& globals = context.globals;
  const Endpoint endpoint = running.database.expose({.user = globals.user});
  const int code = run_child(
      context.interrupts, context.tail,
      environment({"PGHOSTADDR", "PGSERVICE", "PGSERVICEFILE", "PGSSLMODE", "PGPASSFILE"},
                  {"DATABASE_URL=" + endpoint.uri(globals.dbname), "PGHOST=" + endpoint.host(),
                   "PGPORT=" + std::to_string(endpoint.port()), "PGUSER=" + endpoint.user(),
                   "PGPASSWORD=" + endpoint.password(), "PGDATABASE=" + globals.dbname}));
  running.finish();
  return code;
}

void print_endpoint(const Context& context, const Endpoint& endpoint) {
  const std::string& dbname = context.globals.dbname;
  if (context.globals.json) {
    print_json({{"host", endpoint.host()},
                {"port", endpoint.port()},
                {"user", endpoint.user()},
                {"password", endpoint.password()},
                {"database", dbname},
                {"uri", endpoint.uri(dbname)},
                {"psql", endpoint.psql(dbname)},
                {"seen_as", kGatewayAddress}});
    return;
  }
  std::cout << endpoint.uri(dbname) << std::endl;
  context.say(fmt::format("in another terminal:  {}\nseen by the server as {}; Ctrl-C ends it",
                          endpoint.psql(dbname), kGatewayAddress));
}

int expose(Context& context, const ExposeArguments& arguments) {
  Running running(context);
  ExposeOptions options{.address = arguments.address,
                        .port = arguments.port,
                        .user = context.globals.user,
                        .password = {}};
  if (!arguments.password.empty()) options.password = arguments.password;
  const Endpoint endpoint = running.database.expose(options);
  print_endpoint(context, endpoint);
  // To be ended from outside is how it ends: no failure.
  const auto wait_over = context.interrupts.on_cancel([] {});
  pollfd event{context.interrupts.descriptor(), POLLIN, 0};
  while (poll(&event, 1, 1000) == 0) {
    if (!running.database.is_open()) throw Failure(kNotStarted, "the machine has stopped");
  }
  running.finish();
  return kOk;
}

}  // namespace

void add_serve_verbs(CLI::App& app, Context& context) {
  {
    auto [verb, arguments] = add_verb<NoArguments>(
        app, context, "run", "Run a program with a database in its environment", run);
    static_cast<void>(arguments);
    verb->footer("Say it as: snowglobe [DATABASE] run [OPTIONS] [--] PROGRAM [ARGUMENTS...]");
    verb->footer(
        "It finds DATABASE_URL, PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE. The database "
        "ends with it;\n"
        "the exit code is its own.\n\n"
        "  snowglobe run -- ctest\n  snowglobe --from base run -- npm test");
  }
  auto [verb, arguments] = add_verb<ExposeArguments>(
      app, context, "expose", "Let programs outside in, until Ctrl-C; prints the URI", expose);
  verb->add_option("--address", arguments->address, "IP address of this host to listen on")
      ->capture_default_str();
  verb->add_option("--port", arguments->port, "Port; 0: any free one")->capture_default_str();
  verb->add_option("--password", arguments->password,
                   "Of the role that logs in; without it a random one")
      ->envname("SNOWGLOBE_PASSWORD");
}

}  // namespace snowglobe::cli
