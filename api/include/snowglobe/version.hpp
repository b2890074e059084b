// snowglobe/version.hpp - the version of the headers, and of the library that is linked.
#pragma once

#include <snowglobe/export.hpp>

#include <string_view>

#define SNOWGLOBE_VERSION_MAJOR 0
#define SNOWGLOBE_VERSION_MINOR 1
#define SNOWGLOBE_VERSION_PATCH 0
#define SNOWGLOBE_VERSION "0.1.0"

namespace snowglobe {
inline namespace v1 {

/// The version of the library at run time, e.g. "0.1.0".
[[nodiscard]] SNOWGLOBE_API std::string_view library_version() noexcept;

}  // namespace v1
}  // namespace snowglobe
