// cli/verbs_care.cc - looking after a store: prune, verify, export, import.
#include "cli/files.h"
#include "cli/snapshot_tree.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include <fmt/format.h>
#include <iostream>

namespace snowglobe::cli {
namespace fs = std::filesystem;
namespace {

struct PruneArguments {
  std::size_t last = 0;
  std::string within;
  bool tagged = false, named = false, dry_run = false;
  std::vector<std::string> tags;
};
struct Nothing {};
struct ExportArguments {
  std::string which, file;
  int level = 0;
  bool force = false;
};
struct ImportArguments {
  std::vector<std::string> files;
};

PruneOptions prune_options(const PruneArguments& arguments) {
  PruneOptions keep;
  if (arguments.last > 0) keep.last = arguments.last;
  if (!arguments.within.empty()) keep.within = parse_duration(arguments.within);
  keep.tagged = arguments.tagged;
  keep.named = arguments.named;
  keep.tags = arguments.tags;
  if (!keep.last && !keep.within && !keep.tagged && !keep.named && keep.tags.empty())
    throw Failure(kUsage,
                  "say what to keep: --keep-last N, --keep-within 7d, --keep-named, --keep-tagged "
                  "or --keep-tag TAG");
  return keep;
}

void print_pruned(const Context& context, const PruneReport& report, bool dry_run) {
  Json removed = Json::array(), in_use = Json::array();
  for (const Snapshot& each : report.removed)
    removed.push_back(to_json(each));
  for (const Snapshot& each : report.in_use)
    in_use.push_back(to_json(each));
  if (context.globals.json) {
    print_json({{"removed", removed},
                {"in_use", in_use},
                {"freed_bytes", report.freed_bytes},
                {"dry_run", dry_run}});
    return;
  }
  for (const Snapshot& each : report.removed)
    std::cout << fmt::format("{} {}\n", dry_run ? "would remove" : "removed", label(each));
  std::cout.flush();
  for (const Snapshot& each : report.in_use)
    context.say(fmt::format("kept {}: somebody has it open", label(each)));
  if (report.removed.empty()) context.say("nothing to remove");
  if (!dry_run && !report.removed.empty())
    context.say(fmt::format("{} less", human_bytes(report.freed_bytes)));
}

int prune(Context& context, const PruneArguments& arguments) {
  PruneOptions keep = prune_options(arguments);
  SnapshotStore store = context.store();
  keep.dry_run = true;
  PruneReport report = store.prune(keep);
  if (!arguments.dry_run && !report.removed.empty()) {
    context.confirm(fmt::format("Remove {} of {} snapshots for good (--dry-run names them)",
                                report.removed.size(), store.list().size()));
    Progress progress(context.globals.quiet);
    progress.phase("pruning");
    keep.dry_run = false;
    report = store.prune(keep);
  }
  print_pruned(context, report, arguments.dry_run);
  return kOk;
}

int verify(Context& context, const Nothing&) {
  const SnapshotStore store = context.store();
  Progress progress(context.globals.quiet);
  progress.phase("reading " + context.store_folder().string());
  const VerifyReport report = store.verify();
  progress.end();
  if (context.globals.json) {
    Json damage = Json::array();
    for (const StoreDamage& each : report.damage)
      damage.push_back({{"what", each.what}, {"snapshots", each.snapshots}});
    print_json({{"clean", report.clean()},
                {"snapshots", report.snapshots},
                {"chunks", report.chunks},
                {"bytes", report.bytes},
                {"damage", damage}});
  } else {
    for (const StoreDamage& each : report.damage) {
      std::cout << each.what << '\n';
      for (const std::string& id : each.snapshots)
        std::cout << "  not whole: " << id << '\n';
    }
    std::cout << fmt::format("{} snapshot{}, {} pieces, {}: {}\n", report.snapshots,
                             report.snapshots == 1 ? "" : "s", report.chunks,
                             human_bytes(report.bytes), report.clean() ? "all sound" : "DAMAGED");
  }
  return report.clean() ? kOk : kDamaged;
}

/// "NAME.snap"; a name may have what a file's must not.
std::string file_name_of(const Snapshot& snapshot) {
  std::string name = snapshot.name().empty() ? snapshot.id().substr(0, 8) : snapshot.name();
  for (char& c : name)
    if (c == '/' || static_cast<unsigned char>(c) < 0x20) c = '_';
  if (name[0] == '.') name[0] = '_';
  return name.append(".snap");
}

int export_snapshot(Context& context, const ExportArguments& arguments) {
  const SnapshotStore store = context.store();
  const Snapshot snapshot = context.find(store, arguments.which);
  fs::path file = arguments.file.empty() ? file_name_of(snapshot) : arguments.file;
  if (fs::is_directory(file)) file /= file_name_of(snapshot);
  require_folder_of(file);
  if (!arguments.force && fs::exists(file))
    throw Failure(kFailed, fmt::format("{} is there already; --force replaces it", file.string()));
  Progress progress(context.globals.quiet);
  progress.phase("writing " + file.string());
  store.export_to(snapshot, file,
                  {.compression_level = arguments.level, .overwrite = arguments.force});
  progress.end();
  const auto bytes = fs::file_size(file);
  if (context.globals.json) {
    print_json({{"file", file.string()}, {"bytes", bytes}, {"snapshot", snapshot.id()}});
  } else {
    context.say(fmt::format("{}: {}. It holds all that was in the machine's memory, passwords too.",
                            file.string(), human_bytes(bytes)));
  }
  return kOk;
}

int import_snapshots(Context& context, const ImportArguments& arguments) {
  for (const std::string& file : arguments.files) {
    std::error_code failure;
    if (!fs::is_regular_file(file, failure))
      throw Failure(kNotFound, fmt::format("there is no file {}", file));
  }
  SnapshotStore store = context.store(Context::IfMissing::create);
  Json all = Json::array();
  for (const std::string& file : arguments.files) {
    Progress progress(context.globals.quiet);
    progress.phase("reading " + file);
    const Snapshot snapshot = store.import_from(file);
    progress.end();
    all.push_back(to_json(snapshot));
    if (!context.globals.json) std::cout << label(snapshot) << std::endl;
  }
  if (context.globals.json) print_json(all);
  return kOk;
}

}  // namespace

void add_care_verbs(CLI::App& app, Context& context) {
  {
    auto [verb, arguments] = add_verb<PruneArguments>(
        app, context, "prune", "Remove all snapshots but those to keep", prune);
    verb->add_option("--keep-last", arguments->last, "Keep the newest so many");
    verb->add_option("--keep-within", arguments->within, "Keep those not older than 12h, 7d, 4w");
    verb->add_flag("--keep-named", arguments->named,
                   "Keep those with a name (not those whose name another one took)");
    verb->add_flag("--keep-tagged", arguments->tagged, "Keep those with any tag or branch");
    verb->add_option("--keep-tag", arguments->tags, "Keep those with this tag")
        ->allow_extra_args(false);
    verb->add_flag("-n,--dry-run", arguments->dry_run, "Only say what would go");
  }
  add_verb<Nothing>(app, context, "verify", "Read all snapshots and check every checksum", verify);
  {
    auto [verb, arguments] = add_verb<ExportArguments>(
        app, context, "export", "Write a snapshot to one file, for another machine",
        export_snapshot);
    verb->add_option("snapshot", arguments->which, "Which")->required();
    verb->add_option("file", arguments->file,
                     "Where, a file or a folder; without it NAME.snap here");
    verb->add_option("--level", arguments->level, "Compress anew: 1 (fast) to 19 (small)")
        ->check(CLI::Range(0, 19));
    verb->add_flag("--force", arguments->force, "Replace the file if it is there");
  }
  auto [verb, arguments] = add_verb<ImportArguments>(
      app, context, "import", "Take snapshots from exported files", import_snapshots);
  verb->add_option("files", arguments->files, "Exported files")->required();
}

}  // namespace snowglobe::cli
