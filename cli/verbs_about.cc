// cli/verbs_about.cc - info and version; doctor.cc has the third.
#include "cli/doctor.h"
#include "cli/json.h"
#include "cli/shipped.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include <fmt/format.h>
#include <iostream>

namespace snowglobe::cli {
namespace {

struct InfoArguments {
  bool no_sizes = false, no_start = false;
};
struct Nothing {};

int version(Context& context, const Nothing&) {
  if (context.globals.json) {
    print_json({{"snowglobe", library_version()}});
  } else {
    std::cout << fmt::format("snowglobe {}\n", library_version());
  }
  return kOk;
}

Json info_json(const Info& info, const Stats& stats, const std::vector<ShippedPart>& parts) {
  Json json = {{"version", info.library_version},
               {"postgres", info.postgres_version},
               {"kernel", info.kernel_version},
               {"image", info.image.string()},
               {"image_id", info.image_id},
               {"executor", info.executor},
               {"why_interpreted", info.why_interpreted},
               {"memory_mb", info.memory_mb},
               {"started", info.started},
               {"why_cold", info.why_cold},
               {"start_ms", info.boot_time.count()},
               {"disk_bytes", stats.disk_bytes},
               {"image_bytes", info.image_bytes},
               {"image_bytes_read", stats.image_bytes_read}};
  if (parts.empty()) return json;
  Json files = Json::array();
  std::uint64_t bytes = 0, compressed = 0;
  for (const ShippedPart& part : parts) {
    files.push_back({{"part", part.what},
                     {"file", part.file.string()},
                     {"bytes", part.bytes},
                     {"compressed_bytes", part.compressed}});
    bytes += part.bytes;
    compressed += part.compressed;
  }
  json["shipped"] = {{"bytes", bytes}, {"compressed_bytes", compressed}, {"files", files}};
  return json;
}

void print_shipped(const std::vector<ShippedPart>& parts) {
  std::cout << "\nWhat a product ships:\n";
  std::uint64_t bytes = 0, compressed = 0;
  for (const ShippedPart& part : parts) {
    std::cout << fmt::format("  {:<12} {:>9}  compressed {:>9}\n", part.what,
                             human_bytes(part.bytes), human_bytes(part.compressed));
    bytes += part.bytes;
    compressed += part.compressed;
  }
  std::cout << fmt::format("  {:<12} {:>9}  compressed {:>9}\n", "in all", human_bytes(bytes),
                           human_bytes(compressed));
}

Json to_json(const DatabaseInfo& info) {
  return {{"path", info.path.string()},
          {"id", info.id},
          {"format", info.format},
          {"image_id", info.image_id},
          {"postgres", info.postgres_version},
          {"created", info.created},
          {"capacity_bytes", info.capacity},
          {"disk_bytes", info.disk_bytes},
          {"machine_bytes", info.machine_bytes},
          {"state", info.state},
          {"open", info.open},
          {"pid", info.pid},
          {"program", info.program},
          {"since", info.since}};
}

/// What the folder says about itself, also while another process has it.
int folder_info(const Context& context, const DatabaseInfo& info) {
  if (context.globals.json) {
    print_json({{"database", to_json(info)}});
    return kOk;
  }
  std::cout << fmt::format(
      "{:<14} {}\n{:<14} {}, made {}\n{:<14} {} of {} on the host; sleeping machine {}\n{:<14} {}\n"
      "{:<14} {}\n",
      "database", info.path.string(), "id", info.id, info.created, "disk",
      human_bytes(info.disk_bytes), human_bytes(info.capacity), human_bytes(info.machine_bytes),
      "PostgreSQL", info.postgres_version, "state",
      info.open
          ? fmt::format("open since {} by process {} ({})", info.since, info.pid, info.program)
          : info.state);
  return kOk;
}

int info(Context& context, const InfoArguments& arguments) {
  if (!context.globals.database.empty()) {
    const DatabaseInfo folder = Database::inspect(context.globals.database);
    if (folder.open || arguments.no_start) return folder_info(context, folder);
  }
  Running running(context);
  const Info info = running.database.info();
  const Stats stats = running.database.stats();
  Progress progress(context.globals.quiet);
  progress.phase("measuring");
  const auto parts = arguments.no_sizes ? std::vector<ShippedPart>() : shipped_parts(info.image);
  progress.end();
  if (context.globals.json) {
    print_json(info_json(info, stats, parts));
    return kOk;
  }
  const auto line = [](std::string_view name, std::string_view value) {
    if (!value.empty()) std::cout << fmt::format("{:<14} {}\n", name, value);
  };
  line("snowglobe", info.library_version);
  line("PostgreSQL", info.postgres_version + ", 32-bit (i686)");
  line("kernel", info.kernel_version);
  line("image", info.image.string());
  line("image id", info.image_id);
  line("memory", fmt::format("{} MiB", info.memory_mb));
  line("runs on",
       info.executor +
           (info.why_interpreted.empty() ? "" : "; no translator: " + info.why_interpreted));
  line("started", fmt::format("{} in {}{}", info.started, human_duration(info.boot_time),
                              info.why_cold.empty() ? "" : " (" + info.why_cold + ")"));
  line("disk changed", human_bytes(stats.disk_bytes));
  line("image read", fmt::format("{} of {} so far", human_bytes(stats.image_bytes_read),
                                 human_bytes(info.image_bytes)));
  if (!parts.empty()) print_shipped(parts);
  return kOk;
}

}  // namespace

void add_about_verbs(CLI::App& app, Context& context) {
  auto [verb, arguments] = add_verb<InfoArguments>(
      app, context, "info", "About a database, the image, and their sizes", info);
  verb->add_flag("--no-sizes", arguments->no_sizes, "Leave out how large what a product ships is");
  verb->add_flag("--no-start", arguments->no_start,
                 "Of a folder: only what it says about itself, without starting it");
  add_verb<Nothing>(app, context, "doctor", "Check that everything works here, with advice",
                    [](Context& the_context, const Nothing&) { return run_doctor(the_context); });
  add_verb<Nothing>(app, context, "version", "The version of the library", version);
}

}  // namespace snowglobe::cli
