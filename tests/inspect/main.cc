// tests/inspect/main.cc - snowglobe_inspect: where guest time goes, and what the translator made of
// guest code (docs/translator-tools.md).
#include "api/src/database_state.h"
#include "api/src/instance.h"
#include "tests/inspect/dump.h"
#include "tests/inspect/sampler.h"
#include "tests/inspect/symbols.h"
#include "tests/support/read_file.h"
#include "vm/cpu/translator/options.h"
#include <snowglobe/snowglobe.hpp>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <fmt/format.h>
#include <thread>

namespace {

using namespace snowglobe;
using inspect::MappedFiles;
using inspect::Places;

struct Arguments {
  std::string image = "build/guest";
  unsigned memory_mb = 512;
  std::string setup;
  std::string sql = "select 1";
  double seconds = 5;
  unsigned microseconds = 250;
  unsigned top = 30;
  std::vector<std::string> places;
  bool interpreter = false;
};

/// A machine with a session, and the names of what its backend runs.
struct Machine {
  std::shared_ptr<detail::Instance> instance;
  std::unique_ptr<Database> database;
  std::unique_ptr<Session> session;
  std::shared_ptr<const inspect::SymbolFile> kernel;
  std::unique_ptr<MappedFiles> programs;
};

Machine boot(const Arguments& arguments) {
  Options options;
  options.image = arguments.image;
  options.memory_mb = arguments.memory_mb;
  options.executor = arguments.interpreter ? Executor::interpreter : Executor::translator;
  options.statement_limit = {};
  Machine machine;
  machine.instance = detail::Instance::boot(options);
  machine.database = std::make_unique<Database>(
      std::make_shared<detail::DatabaseState>(machine.instance, options));
  machine.session = std::make_unique<Session>(machine.database->session());
  machine.kernel = inspect::SymbolFile::load_map(arguments.image + "/System.map");
  const int backend = machine.session->one<int>("select pg_backend_pid()");
  const std::string maps =
      machine.database->guest().exec({"cat", fmt::format("/proc/{}/maps", backend)}).out;
  machine.programs = std::make_unique<MappedFiles>(maps, [&](const std::string& path) {
    const std::string name = path.substr(path.rfind('/') + 1);
    // Its text may have been moved into large pages.
    if (name == "postgres" || name == "anon_hugepage") return arguments.image + "/symbols/postgres";
    return path.empty() || path[0] != '/' ? std::string() : arguments.image + "/root" + path;
  });
  if (!arguments.setup.empty()) machine.session->script(arguments.setup);
  return machine;
}

using Named = std::map<std::string, std::uint64_t>;

std::uint64_t sum(const Named& named) {
  std::uint64_t total = 0;
  for (const auto& [name, count] : named)
    total += count;
  return total;
}

void print_top(const char* title, const Named& named, std::uint64_t all, unsigned top) {
  if (named.empty()) return;
  std::vector<std::pair<std::uint64_t, std::string>> order;
  for (const auto& [name, count] : named)
    order.emplace_back(count, name);
  std::sort(order.rbegin(), order.rend());
  const auto percent = [all](std::uint64_t count) {
    return 100.0 * static_cast<double>(count) / static_cast<double>(all);
  };
  fmt::print("\n{:5.1f} %  {}\n", percent(sum(named)), title);
  for (std::size_t i = 0; i < std::min<std::size_t>(order.size(), top); ++i)
    fmt::print("  {:5.1f} %  {}\n", percent(order[i].first), order[i].second);
}

bool is_waiting(const std::string& name) {
  return name.find("epoll_wait") != std::string::npos || name.find("poll") == 0 ||
         name.find("pthread_cond") != std::string::npos;
}

void report(const Machine& machine, const Places& places, unsigned top) {
  Named user;
  Named kernel;
  Named host;
  Named waiting;
  const auto own = test::read_file("/proc/self/maps");
  const MappedFiles host_files(std::string(own->begin(), own->end()),
                               [](const std::string& path) { return path; });
  for (const auto& [eip, count] : places.user)
    user[machine.programs->name_at(eip)] += count;
  for (const auto& [eip, count] : places.kernel)
    kernel[machine.kernel->name_at(eip)] += count;
  const auto add_host = [&](const auto& addresses, const char* of) {
    for (const auto& [address, count] : addresses) {
      const std::string name = inspect::demangled(host_files.name_at(address));
      if (is_waiting(name)) {
        waiting["waiting (" + name + ")"] += count;
      } else {
        host[fmt::format("{} [for {}]", name, of)] += count;
      }
    }
  };
  add_host(places.host_user, "user");
  add_host(places.host_kernel, "kernel");
  if (places.unknown != 0) host["stubs, and translations dropped since"] = places.unknown;
  const std::uint64_t idle = sum(waiting);
  const std::uint64_t all = places.samples - idle;
  fmt::print("{} samples, {} of them waiting for work (left out below), {} lost\n", places.samples,
             idle, places.lost);
  if (all == 0) return;
  print_top("translated user code", user, all, top);
  print_top("translated kernel code", kernel, all, top);
  print_top("outside of translated code: the interpreter, handlers, devices, the host's kernel",
            host, all, top);
}

using HandlerRuns = std::map<std::string_view, vm::u64>;

HandlerRuns handler_runs(const Machine& machine) {
  HandlerRuns runs;
  machine.instance->inspect([&](vm::MachineCore& core) {
    if (core.translator() == nullptr) return;
    for (const auto& [name, count] : core.translator()->handler_runs())
      runs[name] = count;
  });
  return runs;
}

void print_handlers(const HandlerRuns& before, const HandlerRuns& after, unsigned runs,
                    unsigned top) {
  std::vector<std::pair<double, std::string_view>> order;
  for (const auto& [name, count] : after) {
    const auto was = before.find(name);
    const vm::u64 more = count - (was == before.end() ? 0 : was->second);
    if (more != 0) order.emplace_back(static_cast<double>(more) / runs, name);
  }
  std::sort(order.rbegin(), order.rend());
  if (!order.empty()) fmt::print("\ninstructions run by handlers, in each run\n");
  for (std::size_t i = 0; i < std::min<std::size_t>(order.size(), top); ++i)
    fmt::print("  {:9.1f}  {}\n", order[i].first, order[i].second);
}

int profile(const Arguments& arguments) {
  Machine machine = boot(arguments);
  machine.session->execute(arguments.sql);  // translated and cached before anything is counted
  Places places;
  std::unique_ptr<inspect::Sampler> sampler;
  machine.instance->inspect([&](vm::MachineCore& core) {
    sampler = std::make_unique<inspect::Sampler>(core, long{arguments.microseconds} * 1000);
  });
  std::atomic<bool> done{false};
  std::thread collector([&] {
    while (!done) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      machine.instance->inspect([&](vm::MachineCore&) { sampler->collect(places); });
    }
    machine.instance->inspect([&](vm::MachineCore&) { sampler.reset(); });
  });
  const HandlerRuns before = handler_runs(machine);
  const auto begin = std::chrono::steady_clock::now();
  unsigned runs = 0;
  std::chrono::duration<double> took{};
  while (took.count() < arguments.seconds) {
    machine.session->execute(arguments.sql);
    ++runs;
    took = std::chrono::steady_clock::now() - begin;
  }
  done = true;
  collector.join();
  fmt::print("{} runs, {:.3f} ms each: {}\n", runs, took.count() * 1e3 / runs, arguments.sql);
  report(machine, places, arguments.top);
  print_handlers(before, handler_runs(machine), runs, arguments.top);
  return 0;
}

std::optional<std::uint64_t> place_named(const Machine& machine, const std::string& place) {
  if (place.rfind("0x", 0) == 0) return std::stoull(place, nullptr, 16);
  if (const auto user = machine.programs->address_of(place)) return user;
  return machine.kernel->address_of(place);
}

int blocks(const Arguments& arguments) {
  Machine machine = boot(arguments);
  for (int i = 0; i < 3; ++i)
    machine.session->execute(arguments.sql);
  int status = 0;
  for (const std::string& place : arguments.places) {
    const auto address = place_named(machine, place);
    if (!address) {
      fmt::print(stderr, "snowglobe_inspect: nothing is called '{}'\n", place);
      status = 1;
      continue;
    }
    machine.instance->inspect([&](vm::MachineCore& core) {
      const auto found = core.translator()->blocks_at(static_cast<vm::u32>(*address));
      fmt::print("{} at {:08x}: {} blocks\n", place, *address, found.size());
      for (const auto& block : found)
        fmt::print("{}", inspect::dump(block));
    });
  }
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Looks into a running machine", "snowglobe_inspect");
  app.require_subcommand(1);
  app.add_option("--image", arguments.image, "folder of the guest image");
  app.add_option("--memory", arguments.memory_mb, "MiB of RAM");
  app.add_option("--setup", arguments.setup, "SQL to run once, before");
  CLI::App* where = app.add_subcommand("profile", "where the time goes while SQL runs");
  where->add_option("sql", arguments.sql, "the statement");
  where->add_option("--seconds", arguments.seconds, "how long to run it again and again");
  where->add_option("--period", arguments.microseconds, "microseconds between samples");
  where->add_option("--top", arguments.top, "lines of each table");
  where->add_flag("--interpreter", arguments.interpreter, "profile the interpreter");
  CLI::App* what = app.add_subcommand("blocks", "guest and host code of translated blocks");
  what->add_option("places", arguments.places, "symbols, or addresses with 0x")->required();
  what->add_option("--sql", arguments.sql, "the statement to run first");
  CLI11_PARSE(app, argc, argv);
  try {
    return where->parsed() ? profile(arguments) : blocks(arguments);
  } catch (const std::exception& error) {
    fmt::print(stderr, "snowglobe_inspect: {}\n", error.what());
    return 1;
  }
}
