// base/log.h - one line of log with its source and level, and the function that receives it.
// Layers get a LogSink passed in; nobody writes to stdout or stderr by himself.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace snowglobe::base {

enum class LogLevel : std::uint8_t { kDebug, kInfo, kWarning, kError };
enum class LogSource : std::uint8_t { kMachine, kKernel, kGuest, kPostgres, kNetwork, kStore };

struct LogLine {
  LogLevel level = LogLevel::kInfo;
  LogSource source = LogSource::kMachine;
  std::string text;  ///< without a newline at the end
};

/// May be called from any thread; must not block and must not call back into the machine.
using LogSink = std::function<void(const LogLine&)>;

}  // namespace snowglobe::base
