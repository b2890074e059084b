// cli/verbs_state.cc - the whole machine, kept and put back: save, restore, branch.
#include "cli/snapshot_tree.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include <fmt/format.h>
#include <iostream>

namespace snowglobe::cli {
namespace {

struct SaveArguments {
  std::string name, note;
  std::vector<std::string> tags;
  bool small = false;
};
struct RestoreArguments {
  std::string which, save_first;
  bool dry_run = false;
};
struct ForkArguments {
  std::string destination, which;
};
struct BranchArguments {
  std::string name, which;
  bool remove = false;
};

std::string branch_tag(const std::string& name) {
  return std::string(kBranchTag) + name;
}

/// Branches whose head `snapshot` is.
std::vector<std::string> heads_at(const Snapshot& snapshot) {
  std::vector<std::string> heads;
  for (const std::string& tag : snapshot.tags())
    if (tag.starts_with(kBranchTag)) heads.push_back(tag.substr(kBranchTag.size()));
  return heads;
}

/// A branch goes along with what is saved on top of its head.
void move_heads(SnapshotStore& store, const Snapshot& saved) {
  if (saved.parent().empty()) return;
  for (const Snapshot& each : store.list()) {
    if (each.id() != saved.parent()) continue;
    for (const std::string& head : heads_at(each)) {
      store.untag(each, branch_tag(head));
      store.tag(saved, branch_tag(head));
    }
  }
}

void needs_database(const Context& context, std::string_view verb) {
  if (context.globals.database.empty())
    throw Failure(
        kUsage,
        fmt::format("{0} is of a database with a path: snowglobe DATABASE {0}. What runs in "
                    "memory is kept by --save-as NAME with shell, sql, run or exec",
                    verb));
}

int save(Context& context, const SaveArguments& arguments) {
  needs_database(context, "save");
  Running running(context);
  const SaveOptions options{
      .note = arguments.note, .tags = arguments.tags, .quiesce = arguments.small};
  Progress progress(context.globals.quiet);
  progress.phase("saving");
  SnapshotStore store = context.store(Context::IfMissing::create);
  const Snapshot saved = store.put(running.database.save(arguments.name, options));
  move_heads(store, saved);
  progress.end();
  if (context.globals.json) {
    print_json(to_json(store.find(saved.id())));
  } else {
    std::cout << label(saved) << '\n';
  }
  return kOk;
}

int restore(Context& context, const RestoreArguments& arguments) {
  needs_database(context, "restore");
  const Snapshot snapshot = context.find(context.store(), arguments.which);
  const std::string what =
      fmt::format("{}, saved {}", label(snapshot),
                  human_age(snapshot.time(), std::chrono::system_clock::now()));
  if (arguments.dry_run) {
    context.say("would restore " + what);
  } else {
    if (arguments.save_first.empty())
      context.confirm(
          fmt::format("Put {} back to {}? What is in it now is gone (or --save-first NAME)",
                      context.globals.database.string(), what));
    Running running(context);
    if (!arguments.save_first.empty())
      context.store().put(running.database.save(arguments.save_first));
    running.database.restore(snapshot);
    context.say("restored " + what);
  }
  if (context.globals.json)
    print_json({{"restored", to_json(snapshot)}, {"dry_run", arguments.dry_run}});
  return kOk;
}

int fork(Context& context, const ForkArguments& arguments) {
  const std::filesystem::path destination = arguments.destination;
  if (std::filesystem::exists(destination / "database.json"))
    throw Failure(kFailed, fmt::format("{} is there already", destination.string()));
  std::optional<Snapshot> snapshot;
  if (arguments.which.empty()) {
    needs_database(context, "fork");
    Running running(context);
    snapshot = running.database.save();
  } else {
    snapshot = context.find(context.store(), arguments.which);
  }
  Globals& globals = context.globals;
  Options options;
  options.image = globals.image;
  options.create = Create::always;
  options.from = snapshot;
  options.memory_mb = static_cast<unsigned>(snapshot->sizes().memory >> 20);
  options.stop = context.interrupts.closing();
  Progress progress(globals.quiet);
  progress.phase("making " + destination.string());
  Database made = Database::open(destination, options);
  made.close();
  progress.end();
  if (globals.json) {
    print_json({{"database", destination.string()}, {"from", snapshot->id()}});
  } else {
    std::cout << destination.string() << '\n';
  }
  return kOk;
}

int list_branches(const Context& context, const SnapshotStore& store) {
  Json all = Json::array();
  for (const Snapshot& each : store.list()) {
    for (const std::string& head : heads_at(each)) {
      all.push_back({{"branch", head}, {"snapshot", to_json(each)}});
      if (!context.globals.json)
        std::cout << fmt::format("{:<20} {} {}\n", head, label(each),
                                 human_age(each.time(), std::chrono::system_clock::now()));
    }
  }
  if (context.globals.json) print_json(all);
  if (all.empty() && !context.globals.json)
    context.say("no branches; `branch NAME [SNAPSHOT]` begins one");
  return kOk;
}

int branch(Context& context, const BranchArguments& arguments) {
  SnapshotStore store = context.store();
  if (arguments.name.empty()) return list_branches(context, store);
  const std::string tag = branch_tag(arguments.name);
  std::optional<Snapshot> before;
  for (const Snapshot& each : store.list())
    for (const std::string& head : heads_at(each))
      if (head == arguments.name) before = each;
  if (arguments.remove) {
    if (!before) throw Failure(kNotFound, fmt::format("there is no branch {}", arguments.name));
    store.untag(*before, tag);
    return kOk;
  }
  const Snapshot head = context.find(store, arguments.which.empty() ? "latest" : arguments.which);
  if (before) store.untag(*before, tag);
  store.tag(head, tag);
  if (context.globals.json) {
    print_json({{"branch", arguments.name}, {"snapshot", to_json(store.find(head.id()))}});
  } else {
    context.say(fmt::format("branch {} is at {}", arguments.name, label(head)));
  }
  return kOk;
}

}  // namespace

void add_state_verbs(CLI::App& app, Context& context) {
  {
    auto [verb, arguments] = add_verb<SaveArguments>(
        app, context, "save", "Keep the whole machine as it is, as a snapshot", save);
    verb->add_option("name", arguments->name, "Its name; it is taken from another that has it");
    verb->add_option("--note", arguments->note, "A text about it");
    verb->add_option("--tag", arguments->tags, "A tag")->allow_extra_args(false);
    verb->add_flag("--small", arguments->small,
                   "Write back and drop the guest's caches first: smaller, slower");
  }
  {
    auto [verb, arguments] = add_verb<RestoreArguments>(
        app, context, "restore", "Put the database back to a snapshot", restore);
    verb->add_option("snapshot", arguments->which,
                     "Name, tag, branch, id or its beginning, or latest")
        ->required();
    verb->add_option("--save-first", arguments->save_first, "Save what is there now by this name");
    verb->add_flag("-n,--dry-run", arguments->dry_run, "Only say what would happen");
  }
  {
    auto [verb, arguments] = add_verb<ForkArguments>(
        app, context, "fork", "A second database that goes on from this one, or from a snapshot",
        fork);
    verb->add_option("destination", arguments->destination, "Folder of the new database")
        ->required();
    verb->add_option("snapshot", arguments->which, "Where it begins; without it as it is now");
  }
  auto [verb, arguments] = add_verb<BranchArguments>(
      app, context, "branch", "List branches, or begin one at a snapshot", branch);
  verb->add_option("name", arguments->name,
                   "Its name; `restore NAME` goes there, saves move it on");
  verb->add_option("snapshot", arguments->which, "Where; without it the latest");
  verb->add_flag("--remove", arguments->remove, "Forget it; its snapshots stay");
}

}  // namespace snowglobe::cli
