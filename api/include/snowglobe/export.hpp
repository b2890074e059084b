// snowglobe/export.hpp - the library's binary interface: what the shared library shows, and the
// version in its C++ names.
//
// All of them live in an inline namespace: in source it is not seen (snowglobe::Database), in
// symbols it is (snowglobe::v1::Database), so that programs and libraries built with another
// version of the interface do not link by accident. A class of the library cannot be declared
// without its header for that reason.
#pragma once

#if defined(__GNUC__)
#define SNOWGLOBE_API __attribute__((visibility("default")))
#else
#define SNOWGLOBE_API
#endif

namespace snowglobe {
inline namespace v1 {
namespace detail {}  // namespace detail
}  // namespace v1
}  // namespace snowglobe
