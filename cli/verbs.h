// cli/verbs.h - the families of verbs. Each function adds its own to the command line; what they
// will do becomes Context::action when one of them was read.
#pragma once

#include "cli/context.h"
#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace snowglobe::cli {

void add_sql_verbs(CLI::App& app, Context& context);    // shell, sql
void add_serve_verbs(CLI::App& app, Context& context);  // run, expose
void add_guest_verbs(CLI::App& app, Context& context);  // exec, console, put, get, logs
void add_state_verbs(CLI::App& app, Context& context);  // save, restore, branch, fork
void add_store_verbs(CLI::App& app, Context& context);  // list, show, diff, tag, rename, rm
void add_care_verbs(CLI::App& app, Context& context);   // prune, verify, export, import
void add_database_verbs(CLI::App& app,
                        Context& context);              // init, dump, load, backup, check, compact
void add_about_verbs(CLI::App& app, Context& context);  // info, doctor, version
void add_completion_verb(CLI::App& app, Context& context);

/// A verb with arguments of its own (Arguments: where their values go), and what it does with them.
template <class Arguments, class Action>
std::pair<CLI::App*, std::shared_ptr<Arguments>> add_verb(CLI::App& app, Context& context,
                                                          const std::string& name,
                                                          const std::string& description,
                                                          Action action) {
  CLI::App* verb = app.add_subcommand(name, description);
  auto arguments = std::make_shared<Arguments>();
  verb->callback([&context, arguments, action] {
    context.action = [&context, arguments, action] { return action(context, *arguments); };
  });
  return {verb, arguments};
}

}  // namespace snowglobe::cli
