// bench/servers.cc - the machine's settings for all, and the differences that are left.
#include "bench/servers.h"

#include "bench/measure.h"
#include "bench/suites.h"
#include "bench/worker.h"
#include <algorithm>
#include <array>
#include <cstdlib>
#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <sys/vfs.h>
#include <thread>

namespace bench {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr auto kIntroductionLimit = std::chrono::minutes(3);

// What says where a server is, and nothing of how fast.
const std::set<std::string> kPlaces = {
    "config_file", "data_directory",      "data_directory_mode", "external_pid_file",
    "hba_file",    "ident_file",          "listen_addresses",    "log_line_prefix",
    "port",        "server_version",      "server_version_num",  "unix_socket_directories",
    "lc_messages", "dynamic_library_path"};

// The settings of speed, for the head.
constexpr std::array kNamed = {"shared_buffers", "work_mem",      "maintenance_work_mem",
                               "temp_buffers",   "fsync",         "synchronous_commit",
                               "wal_level",      "jit",           "max_parallel_workers_per_gather",
                               "huge_pages",     "data_checksums"};

constexpr const char* kAllSettings = "select name, setting from pg_settings order by name";
constexpr const char* kOwnSettings =
    "select name, current_setting(name) from pg_settings "
    "where source in ('configuration file', 'command line')";

Settings settings_of(Client& client, const char* sql) {
  Settings settings;
  for (auto& [name, value] : client.pairs(sql)) {
    if (!kPlaces.contains(name)) settings[name] = value;
  }
  return settings;
}

// What the machine says of itself. In a process of its own: this one stays without threads.
Json introduce(const Plan& plan) {
  Worker worker([&plan](const Worker::Tell& tell) {
    Bench bench(plan);
    const snowglobe::Info info = bench.snowglobe().info();
    Client client(bench.conninfo(Side::snowglobe));
    tell({{"image", info.image.string()},
          {"executor", info.executor},
          {"why_interpreted", info.why_interpreted},
          {"memory_mb", info.memory_mb},
          {"version", client.run("select version()")},
          {"own", settings_of(client, kOwnSettings)},
          {"all", settings_of(client, kAllSettings)},
          {"locale", client.run("select concat_ws(' ', datlocprovider, datcollate, encoding) from "
                                "pg_database where datname = 'postgres'")}});
  });
  const auto told = worker.next(std::chrono::steady_clock::now() + kIntroductionLimit);
  if (!told) throw std::runtime_error("no machine: " + worker.end());
  if (told->contains("error")) {
    throw std::runtime_error("no machine: " + told->at("error").get<std::string>());
  }
  return *told;
}

std::string differences(const Settings& ours, const Settings& theirs) {
  std::string text;
  for (const auto& [name, value] : ours) {
    const auto found = theirs.find(name);
    if (found == theirs.end() || found->second == value) continue;
    text += fmt::format("{}{} '{}' (snowglobe '{}')", text.empty() ? "" : ", ", name, found->second,
                        value);
  }
  return text.empty() ? "none" : text;
}

std::string file_system(const fs::path& folder) {
  constexpr auto kTmpfs = 0x01021994;
  struct statfs information {};
  const bool in_memory =
      ::statfs(folder.c_str(), &information) == 0 && information.f_type == kTmpfs;
  return in_memory ? "in memory (tmpfs), as the machine's disk is"
                   : "on a disk, unlike the machine's: their commits pay for it";
}

// Figures of a host that does something else as well are not worth much.
std::string host() {
  double load = 0;
  const bool known = ::getloadavg(&load, 1) == 1;
  return fmt::format("{} cores, load {:.2f}{}", std::thread::hardware_concurrency(), load,
                     known && load > 0.7 ? ": NOT QUIET" : "");
}

void head_of_native(Report& report, Side side, NativeServer& server, const Settings& ours) {
  Client client(server.conninfo());
  report.head(name_of(side), client.run("select version()"));
  report.head("", "settings that differ: " + differences(ours, settings_of(client, kAllSettings)));
}

}  // namespace

NativeServers start_servers(Plan& plan, Report& report) {
  report.head("host", host());
  const Json introduction = introduce(plan);
  plan.image = introduction.at("image").get<std::string>();
  plan.settings = introduction.at("own").get<Settings>();
  const auto all = introduction.at("all").get<Settings>();
  const NativeOptions options{.settings = plan.settings, .folder = plan.folder};

  report.head("snowglobe", fmt::format("{} MiB of RAM, executor {}: {}",
                                       introduction.at("memory_mb").get<unsigned>(),
                                       introduction.at("executor").get<std::string>(),
                                       introduction.at("version").get<std::string>()));
  const auto why_interpreted = introduction.at("why_interpreted").get<std::string>();
  if (!why_interpreted.empty()) report.head("", "no translator: " + why_interpreted);
  NativeServers servers;
  Sides<std::string> why;
  servers[Side::twin] = NativeServer::twin(plan.image, why[Side::twin], options);
  servers[Side::native] = NativeServer::host(why[Side::native], options);
  for (const Side side : {Side::twin, Side::native}) {
    NativeServer* const server = servers[side].get();
    if (server == nullptr) {
      report.head(name_of(side), "none: " + why[side]);
      continue;
    }
    plan.conninfo[side] = server->conninfo();
    plan.postmaster[side] = server->pid();
    head_of_native(report, side, *server, all);
  }
  if (servers[Side::native]) plan.host_bin = servers[Side::native]->bin();
  std::string named;
  for (const char* name : kNamed) {
    const auto found = all.find(name);
    // Of those that have a unit, pg_settings counts in it; what was set is told as it was set.
    const auto own = plan.settings.find(name);
    if (own != plan.settings.end()) {
      named += fmt::format("{}={} ", name, own->second);
    } else if (found != all.end()) {
      named += fmt::format("{}={} ", name, found->second);
    }
  }
  report.head("settings", named);
  report.head("clusters", "of the native servers: " + file_system(plan.folder));
  return servers;
}

NativeServers own_servers(const Plan& plan) {
  const NativeOptions options{.settings = plan.settings, .folder = plan.folder};
  NativeServers servers;
  std::string why;
  if (!plan.conninfo[Side::native].empty())
    servers[Side::native] = NativeServer::host(why, options);
  if (!plan.conninfo[Side::twin].empty()) {
    servers[Side::twin] = NativeServer::twin(plan.image, why, options);
  }
  if (!why.empty()) throw std::runtime_error(why);
  return servers;
}

}  // namespace bench
