// api/src/option_checks.cc - options that can never work are said before anything is built.
#include "api/src/option_checks.h"

#include <snowglobe/error.hpp>

#include <algorithm>
#include <cctype>
#include <fmt/format.h>

namespace snowglobe::detail {
namespace {

constexpr unsigned kMostSessions = 1000;

void require_settings(const std::map<std::string, std::string>& settings) {
  const auto plain = [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '.'; };
  for (const auto& [name, value] : settings) {
    if (name.empty() || !std::ranges::all_of(name, plain)) {
      throw InvalidArgument(
          fmt::format("Options::settings: '{}' is not a name of a setting", name));
    }
    if (value.find('\0') != std::string::npos) {
      throw InvalidArgument(fmt::format("Options::settings: the value of '{}' has a NUL", name));
    }
  }
}

/// The guest's programs count seconds in 32 bits: behind that, clock_timestamp() would be in 1970.
void require_time(const std::optional<std::chrono::system_clock::time_point>& time) {
  using std::chrono::sys_days;
  constexpr sys_days kFirst = std::chrono::year(1970) / 1 / 1;
  constexpr sys_days kEnd = std::chrono::year(2038) / 1 / 1;
  if (!time || (*time >= kFirst && *time < kEnd)) return;
  throw InvalidArgument("Options::frozen_time is not in the years 1970 to 2037");
}

template <class Enum>
void require_one_of(Enum value, Enum last, const char* what) {
  if (value >= Enum{} && value <= last) return;
  throw InvalidArgument(fmt::format("{} is none of its enumerators", what));
}

}  // namespace

void require_limit(std::chrono::milliseconds limit, const char* what) {
  if (limit.count() >= 0) return;
  throw InvalidArgument(
      fmt::format("{} is {} ms; it must be positive, or 0 for no limit", what, limit.count()));
}

void require_possible(const Options& options) {
  require_settings(options.settings);
  require_one_of(options.executor, Executor::interpreter, "Options::executor");
  require_one_of(options.start, Start::cold, "Options::start");
  require_one_of(options.create, Create::always, "Options::create");
  require_one_of(options.durability, Durability::none, "Options::durability");
  require_one_of(options.restart, Restart::automatic, "Options::restart");
  require_limit(options.statement_limit, "Options::statement_limit");
  require_time(options.frozen_time);
  if (options.boot_limit.count() <= 0) {
    throw InvalidArgument(fmt::format("Options::boot_limit is {} ms; it must be more than 0",
                                      options.boot_limit.count()));
  }
  if (options.pool_size == 0 || options.pool_size > kMostSessions) {
    throw InvalidArgument(fmt::format("Options::pool_size is {}; 1 to {} are possible",
                                      options.pool_size, kMostSessions));
  }
}

}  // namespace snowglobe::detail
