// bench/suites.h - the suites, and what they share.
#pragma once

#include <snowglobe/snowglobe.hpp>

#include "bench/measure.h"
#include "bench/native_server.h"
#include "bench/report.h"
#include <filesystem>
#include <memory>
#include <string>

namespace bench {

/// The three servers under comparison, started once for all suites. twin and native may be null.
struct Servers {
  std::unique_ptr<snowglobe::Database> snowglobe;
  std::unique_ptr<NativeServer> twin;
  std::unique_ptr<NativeServer> native;

  /// conninfo of a server; empty if it is not there.
  [[nodiscard]] std::string snowglobe_conninfo() const { return snowglobe->conninfo(); }
  [[nodiscard]] std::string twin_conninfo() const { return twin ? twin->conninfo() : ""; }
  [[nodiscard]] std::string native_conninfo() const { return native ? native->conninfo() : ""; }
};

void run_boot_suite(Servers& servers, Report& report, bool quick);
void run_cpu_suite(Servers& servers, Report& report, bool quick);
void run_latency_suite(Servers& servers, Report& report, bool quick);

}  // namespace bench
