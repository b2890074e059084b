// api/src/option_checks.h - options that can never work are said before anything is built.
#pragma once

#include <snowglobe/options.hpp>

#include <chrono>

namespace snowglobe::detail {

/// All of Options but what depends on the image or the snapshot. Throws InvalidArgument, which
/// names the member and what it may be.
void require_possible(const Options& options);

/// `what` is a limit of time, or 0 for none. Throws InvalidArgument.
void require_limit(std::chrono::milliseconds limit, const char* what);

}  // namespace snowglobe::detail
