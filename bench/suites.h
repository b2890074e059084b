// bench/suites.h - the suites of the table. A task makes one row, or a few of one measurement.
#pragma once

#include "bench/bench.h"
#include "bench/row.h"
#include <functional>
#include <string>
#include <vector>

namespace bench {

using Emit = std::function<void(const Row&)>;

struct Task {
  std::string name;
  std::function<void(Bench&, const Emit&)> run;
};

/// Its tasks run in one process, on one machine, in this order; after a failure the others in a new
/// process. Hence a task makes what it needs if it is not there.
struct Suite {
  std::string name;
  std::string remark;
  std::vector<Task> tasks;
};

Suite machine_suite();  ///< boot, idling, guest instructions of small things
Suite cpu_suite();      ///< statements that only compute
Suite session_suite();  ///< select 1, new connections
Suite memory_suite();   ///< page faults
Suite bulk_suite();     ///< COPY, single inserts
Suite pgbench_suite();
Suite machines_suite();                    ///< ten machines in one process
Suite snapshots_suite();                   ///< the ready state, save, restore, fork, and the store
Suite persistence_suite();                 ///< databases in a folder
std::vector<Task> snapshot_store_tasks();  ///< its part that writes files

}  // namespace bench
