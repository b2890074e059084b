// bench/runner.h - runs the tasks of suites in worker processes, with time limits.
#pragma once

#include "bench/plan.h"
#include "bench/report.h"
#include "bench/suites.h"

namespace bench {

/// Rows come as they are measured. Returns how many tasks failed; the reason is in their rows.
int run_suite(const Suite& suite, const Plan& plan, Report& report);

}  // namespace bench
