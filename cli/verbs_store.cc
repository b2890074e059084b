// cli/verbs_store.cc - what is in a store: list, show, diff, tag, rename, rm.
#include "cli/branches.h"
#include "cli/snapshot_tree.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <iostream>

namespace snowglobe::cli {
namespace {

struct ListArguments {
  std::string tag;
  std::size_t last = 0;
  bool flat = false;
};
struct Which {
  std::string which = "latest";
};
struct DiffArguments {
  std::string from, to = "latest";
  bool rows = false;
};
struct TagArguments {
  std::string which;
  std::vector<std::string> tags;
  std::vector<std::string> removed;
  std::string note;
};
struct RenameArguments {
  std::string which, name;
};
struct RemoveArguments {
  std::vector<std::string> which;
  bool cascade = false, dry_run = false;
};

std::vector<SnapshotBranch> chosen(const SnapshotStore& store, const ListArguments& arguments) {
  std::vector<SnapshotBranch> order;
  if (arguments.tag.empty() && arguments.last == 0 && !arguments.flat) return store.branches();
  for (const Snapshot& snapshot : store.list()) {
    const auto& tags = snapshot.tags();
    if (arguments.tag.empty() || std::find(tags.begin(), tags.end(), arguments.tag) != tags.end())
      order.push_back({snapshot, 0});
  }
  if (arguments.last != 0 && order.size() > arguments.last)
    order.erase(order.begin(), order.end() - static_cast<long>(arguments.last));
  return order;
}

int list(Context& context, const ListArguments& arguments) {
  // A database that nobody has saved yet has no store, and that is no mistake.
  const bool none =
      context.globals.store.empty() && context.database_exists() && !context.store_exists();
  const auto order = none ? std::vector<SnapshotBranch>() : chosen(context.store(), arguments);
  if (context.globals.json) {
    const std::string now = context.now_at();
    Json all = Json::array();
    for (const SnapshotBranch& each : order) {
      all.push_back(to_json(each.snapshot));
      all.back()["depth"] = each.depth;
      all.back()["now"] = each.snapshot.id() == now;
    }
    print_json(all);
  } else if (context.globals.quiet) {
    for (const SnapshotBranch& each : order)
      std::cout << each.snapshot.id() << '\n';
  } else if (order.empty()) {
    context.say("no snapshots");
  } else {
    print_tree(std::cout, order, context.now_at());
  }
  return kOk;
}

int show(Context& context, const Which& arguments) {
  const Snapshot snapshot = context.find(context.store(), arguments.which);
  if (context.globals.json) {
    print_json(to_json(snapshot));
    return kOk;
  }
  const SnapshotSizes sizes = snapshot.sizes();
  const auto line = [](std::string_view name, std::string_view value) {
    if (!value.empty()) std::cout << fmt::format("{:<12} {}\n", name, value);
  };
  std::string tags;
  for (const std::string& tag : snapshot.tags())
    if (!is_own_tag(tag)) tags += (tags.empty() ? "" : ", ") + tag;
  line("id", snapshot.id());
  line("name", snapshot.name());
  line("was named", snapshot.former_name());
  line("parent", snapshot.parent());
  line("saved", fmt::format("{} ({})", iso_time(snapshot.time()),
                            human_age(snapshot.time(), std::chrono::system_clock::now())));
  line("tags", tags);
  line("branches", fmt::format("{}", fmt::join(heads_at(snapshot), ", ")));
  line("note", snapshot.note());
  line("memory", human_bytes(sizes.memory));
  line("all parts", human_bytes(sizes.raw));
  line("stored", human_bytes(sizes.stored));
  line("added", human_bytes(sizes.added));
  line("PostgreSQL", snapshot.postgres_version());
  line("WAL", snapshot.wal_position());
  line("image", snapshot.image_id());
  return kOk;
}

constexpr const char* kKinds[] = {"changed", "created", "dropped"};

void print_rows_diff(const Context& context, const std::vector<TableDiff>& tables) {
  if (tables.empty()) context.say("the same rows");
  std::size_t width = 5;
  for (const TableDiff& table : tables)
    width = std::max(width, display_width(table.name()));
  if (!tables.empty())
    std::cout << styled(Style::bold, fmt::format("{:<{}}  {:>10}  {:>10}  {:>10}", "TABLE", width,
                                                 "INSERTED", "UPDATED", "DELETED"))
              << '\n';
  for (const TableDiff& table : tables) {
    const std::string name = table.name();
    std::cout << fmt::format(
        "{}{}  {:>10}  {:>10}  {:>10}{}\n", name, std::string(width - display_width(name), ' '),
        table.inserted, table.updated, table.deleted,
        table.kind == TableDiff::Kind::changed
            ? ""
            : fmt::format("  {}", kKinds[static_cast<std::size_t>(table.kind)]));
  }
}

/// Two machines start for it, one from each.
int diff_by_rows(Context& context, const Snapshot& from, const Snapshot& to) {
  Progress progress(context.globals.quiet);
  progress.phase("comparing rows");
  const std::vector<TableDiff> tables = diff_rows(from, to, context.machine_options());
  progress.end();
  if (!context.globals.json) {
    context.say(fmt::format("from {} to {}", label(from), label(to)));
    print_rows_diff(context, tables);
    return kOk;
  }
  Json all = Json::array();
  for (const TableDiff& table : tables)
    all.push_back({{"database", table.database},
                   {"schema", table.schema},
                   {"table", table.table},
                   {"kind", kKinds[static_cast<std::size_t>(table.kind)]},
                   {"inserted", table.inserted},
                   {"updated", table.updated},
                   {"deleted", table.deleted}});
  print_json({{"from", from.id()}, {"to", to.id()}, {"tables", all}});
  return kOk;
}

int diff(Context& context, const DiffArguments& arguments) {
  const SnapshotStore store = context.store();
  const Snapshot from = context.find(store, arguments.from);
  const Snapshot to = context.find(store, arguments.to);
  if (arguments.rows) return diff_by_rows(context, from, to);
  const SnapshotDiff difference = store.diff(from, to);
  if (context.globals.json) {
    Json parts = Json::array();
    for (const SnapshotPartDiff& part : difference.parts)
      parts.push_back({{"part", part.name},
                       {"changed_bytes", part.changed_bytes},
                       {"changed_chunks", part.changed_chunks}});
    print_json({{"from", from.id()},
                {"to", to.id()},
                {"changed_bytes", difference.changed_bytes},
                {"changed_chunks", difference.changed_chunks},
                {"parts", parts}});
    return kOk;
  }
  context.say(fmt::format("from {} to {}", label(from), label(to)));
  for (const SnapshotPartDiff& part : difference.parts)
    std::cout << fmt::format("{:<16} {:>10}  in {} pieces\n", part.name,
                             human_bytes(part.changed_bytes), part.changed_chunks);
  std::cout << fmt::format("{:<16} {:>10}  in {} pieces\n", "together",
                           human_bytes(difference.changed_bytes), difference.changed_chunks);
  return kOk;
}

int tag(Context& context, const TagArguments& arguments) {
  SnapshotStore store = context.store();
  const Snapshot snapshot = context.find(store, arguments.which);
  if (arguments.tags.empty() && arguments.removed.empty() && arguments.note.empty())
    throw Failure(kUsage, "say which tags to add, or --remove TAG, or --note TEXT");
  for (const auto* tags : {&arguments.tags, &arguments.removed})
    if (std::any_of(tags->begin(), tags->end(), is_own_tag))
      throw Failure(kUsage, "tags that begin with branch/ are heads of branches: see `branch`");
  for (const std::string& each : arguments.tags)
    store.tag(snapshot, each);
  for (const std::string& each : arguments.removed)
    store.untag(snapshot, each);
  if (!arguments.note.empty()) store.note(snapshot, arguments.note);
  if (context.globals.json) print_json(to_json(store.find(snapshot.id())));
  return kOk;
}

int rename(Context& context, const RenameArguments& arguments) {
  SnapshotStore store = context.store();
  const Snapshot snapshot = context.find(store, arguments.which);
  store.rename(snapshot, arguments.name);
  if (context.globals.json) print_json(to_json(store.find(snapshot.id())));
  return kOk;
}

/// Those that go, with all that descend from them; a Failure names what stands in the way.
std::vector<Snapshot> doomed(const Context& context, const SnapshotStore& store,
                             const RemoveArguments& arguments) {
  std::vector<Snapshot> named;
  for (const std::string& which : arguments.which)
    named.push_back(context.find(store, which));
  std::vector<Snapshot> all = named;
  for (const SnapshotBranch& each : store.branches()) {  // parents before children
    const auto has = [&](const std::string& id) {
      return std::any_of(all.begin(), all.end(), [&](const Snapshot& s) { return s.id() == id; });
    };
    if (has(each.snapshot.id()) || !has(each.snapshot.parent())) continue;
    if (!arguments.cascade)
      throw Failure(kFailed, fmt::format("{} descends from what is to go; --cascade removes it too",
                                         label(each.snapshot)));
    all.push_back(each.snapshot);
  }
  return all;
}

void print_removed(const Context& context, const std::vector<Snapshot>& all, bool dry_run) {
  Json json = Json::array();
  for (const Snapshot& each : all) {
    json.push_back(to_json(each));
    if (!context.globals.json)
      std::cout << fmt::format("{} {}\n", dry_run ? "would remove" : "removed", label(each));
  }
  if (context.globals.json) print_json({{"removed", json}, {"dry_run", dry_run}});
}

int remove(Context& context, const RemoveArguments& arguments) {
  SnapshotStore store = context.store();
  const std::vector<Snapshot> going = doomed(context, store, arguments);
  if (!arguments.dry_run) {
    std::string names;
    for (const Snapshot& each : going)
      names += (names.empty() ? "" : ", ") + label(each);
    context.confirm(fmt::format("Remove {} for good", names));
    for (auto each = going.rbegin(); each != going.rend(); ++each)
      store.remove(*each, Children::refuse);
  }
  print_removed(context, going, arguments.dry_run);
  return kOk;
}

}  // namespace

void add_store_verbs(CLI::App& app, Context& context) {
  {
    auto [verb, arguments] = add_verb<ListArguments>(
        app, context, "list", "Snapshots as a tree, with ages and sizes", list);
    verb->add_option("--tag", arguments->tag, "Only those with this tag");
    verb->add_option("-n,--last", arguments->last, "Only the newest so many");
    verb->add_flag("--flat", arguments->flat, "By time, not as a tree");
    verb->footer("With --quiet: ids only.");
  }
  {
    auto [verb, arguments] =
        add_verb<Which>(app, context, "show", "All that is known about a snapshot", show);
    verb->add_option("snapshot", arguments->which,
                     "Name, tag, branch, id or its beginning, or latest")
        ->capture_default_str();
  }
  {
    auto [verb, arguments] = add_verb<DiffArguments>(
        app, context, "diff", "What differs between two snapshots: how much, or which rows", diff);
    verb->add_option("from", arguments->from, "One snapshot")->required();
    verb->add_option("to", arguments->to, "The other")->capture_default_str();
    verb->add_flag("--rows", arguments->rows,
                   "By table: rows inserted, updated and deleted (starts both machines)");
  }
  {
    auto [verb, arguments] =
        add_verb<TagArguments>(app, context, "tag", "Add tags or a note to a snapshot", tag);
    verb->add_option("snapshot", arguments->which, "Which")->required();
    verb->add_option("tags", arguments->tags, "Tags to add");
    verb->add_option("--remove", arguments->removed, "Tag to take away")->allow_extra_args(false);
    verb->add_option("--note", arguments->note, "A text about it");
  }
  {
    auto [verb, arguments] =
        add_verb<RenameArguments>(app, context, "rename", "Give a snapshot another name", rename);
    verb->add_option("snapshot", arguments->which, "Which")->required();
    verb->add_option("name", arguments->name, "Its name from now on; \"\" for none")->required();
  }
  auto [verb, arguments] =
      add_verb<RemoveArguments>(app, context, "rm", "Remove snapshots", remove);
  verb->add_option("snapshots", arguments->which, "Which")->required();
  verb->add_flag("--cascade", arguments->cascade, "With all that descend from them");
  verb->add_flag("-n,--dry-run", arguments->dry_run, "Only say what would go");
}

}  // namespace snowglobe::cli
