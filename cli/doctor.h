// cli/doctor.h - does everything work on this computer, and if not, what helps?
#pragma once

#include "cli/context.h"

namespace snowglobe::cli {

/// Prints a line a check. Returns kOk unless one failed; warnings do not count.
int run_doctor(Context& context);

}  // namespace snowglobe::cli
