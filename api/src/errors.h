// api/src/errors.h - from the values of the layers below to the exceptions of the public face.
#pragma once

#include "base/error.h"
#include <snowglobe/error.hpp>
#include <snowglobe/sql_errors.hpp>

#include <string>
#include <vector>

namespace snowglobe::detail {

/// Throws the class that belongs to diagnostics.sqlstate (sql_errors.cc).
[[noreturn]] void throw_sql_error(SqlDiagnostics diagnostics);

/// Throws what belongs to a layer's error code. `console` goes into GuestCrashed.
[[noreturn]] void throw_error(const base::Error& error, std::vector<std::string> console = {});

/// Likewise, for what was done with a stored snapshot.
[[noreturn]] void throw_snapshot_error(const base::Error& error);

/// Likewise, for what was done with a machine's state.
[[noreturn]] void throw_capture_error(const base::Error& error);

/// Likewise, where somebody wanted to listen.
[[noreturn]] void throw_listen_error(const base::Error& error);

/// The value, or the error thrown.
template <class T>
T value_or_throw(base::Result<T> result) {
  if (!result.ok()) throw_error(result.error());
  return std::move(result).value();
}
inline void value_or_throw(const base::Result<void>& result) {
  if (!result.ok()) throw_error(result.error());
}

}  // namespace snowglobe::detail
