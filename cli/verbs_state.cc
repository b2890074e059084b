// cli/verbs_state.cc - the whole machine, kept and put back: save, restore, branch.
#include "cli/branches.h"
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
  move_on(store, saved);
  progress.end();
  if (context.globals.json) {
    print_json(to_json(store.find(saved.id())));
  } else {
    std::cout << label(saved) << '\n';
  }
  return kOk;
}

/// What is saved from now on goes along with the branch that was named, or with the only one here.
void go_to(SnapshotStore& store, const Snapshot& snapshot, const std::string& named) {
  const std::vector<std::string> heads = heads_at(snapshot);
  const bool by_branch = std::find(heads.begin(), heads.end(), named) != heads.end();
  choose_branch(store, by_branch           ? std::optional(named)
                       : heads.size() == 1 ? std::optional(heads.front())
                                           : std::nullopt);
}

int restore(Context& context, const RestoreArguments& arguments) {
  needs_database(context, "restore");
  SnapshotStore store = context.store();
  const Snapshot snapshot = context.find(store, arguments.which);
  const std::string what =
      fmt::format("{}, saved {}", label(snapshot),
                  human_age(snapshot.time(), std::chrono::system_clock::now()));
  if (arguments.dry_run) {
    context.say("would restore " + what);
  } else {
    if (arguments.save_first.empty())
      context.confirm(
          fmt::format("Put {} back to {}, and lose what is in it now (--save-first NAME keeps it)",
                      context.globals.database.string(), what));
    Running running(context);
    if (!arguments.save_first.empty())
      move_on(store, store.put(running.database.save(arguments.save_first)));
    running.database.restore(snapshot);
    go_to(store, store.find(snapshot.id()), arguments.which);
    context.say("restored " + what);
  }
  if (context.globals.json)
    print_json({{"restored", to_json(snapshot)}, {"dry_run", arguments.dry_run}});
  return kOk;
}

int fork(Context& context, const ForkArguments& arguments) {
  const std::filesystem::path destination = arguments.destination;
  if (std::filesystem::exists(destination / "database.json"))
    throw Failure(kFailed, fmt::format("{} is a database already; name a folder that is not there",
                                       destination.string()));
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
  const std::string now = context.now_at();
  Json all = Json::array();
  for (const Snapshot& each : store.list()) {
    for (const std::string& head : heads_at(each)) {
      const bool on = each.id() == now && branch_on(each) == head;
      all.push_back({{"branch", head}, {"now", on}, {"snapshot", to_json(each)}});
      if (!context.globals.json)
        std::cout << fmt::format("{} {:<20} {} {}\n", on ? '*' : ' ', head, label(each),
                                 human_age(each.time(), std::chrono::system_clock::now()));
    }
  }
  if (context.globals.json) print_json(all);
  if (all.empty() && !context.globals.json)
    context.say("no branches; `branch NAME [SNAPSHOT]` begins one");
  return kOk;
}

/// Where a branch begins if nobody says it: at what the database goes on from.
Snapshot place_of_new_branch(const Context& context, const SnapshotStore& store,
                             const std::string& which) {
  if (!which.empty()) return context.find(store, which);
  const std::string now = context.now_at();
  for (const Snapshot& each : store.list())
    if (each.id() == now) return each;
  return store.find("latest");
}

int branch(Context& context, const BranchArguments& arguments) {
  SnapshotStore store = context.store();
  if (arguments.name.empty()) return list_branches(context, store);
  if (arguments.remove) {
    if (!remove_branch(store, arguments.name))
      throw Failure(kNotFound, fmt::format("there is no branch {}", arguments.name));
    return kOk;
  }
  const Snapshot head = place_of_new_branch(context, store, arguments.which);
  const bool on_another = branch_on(head).has_value();
  move_head(store, arguments.name, head);
  if (head.id() == context.now_at() && !on_another) choose_branch(store, arguments.name);
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
  verb->add_option("snapshot", arguments->which,
                   "Where; without it where the database stands, or the latest");
  verb->add_flag("--remove", arguments->remove, "Forget it; its snapshots stay");
}

}  // namespace snowglobe::cli
