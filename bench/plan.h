// bench/plan.h - what is measured under which conditions.
#pragma once

#include <snowglobe/snowglobe.hpp>

#include "bench/native_server.h"
#include "bench/row.h"
#include <filesystem>
#include <string>

namespace bench {

/// Plain data; workers get it by fork().
struct Plan {
  bool quick = false;
  bool best = false;               ///< the best of a row's figures in place of the median
  snowglobe::Options options;      ///< of every machine
  std::filesystem::path folder;    ///< for clusters and files of this run
  std::filesystem::path disk;      ///< a folder that is not in memory, for stores of snapshots
  std::filesystem::path image;     ///< the folder that the machine found
  Settings settings;               ///< of the machine's server, for the native ones
  Sides<std::string> conninfo;     ///< of native and twin; empty: not there
  Sides<pid_t> postmaster;         ///< of native and twin
  std::filesystem::path host_bin;  ///< of the native server's programs, if it is there
};

}  // namespace bench
