// bench/processes.h - processor time of this process, and of a server's processes.
#pragma once

#include <sys/types.h>

namespace bench {

/// All threads of this process.
double own_cpu_seconds();
/// A process and its children that are alive, as PostgreSQL's are to the postmaster.
double tree_cpu_seconds(pid_t root);

}  // namespace bench
