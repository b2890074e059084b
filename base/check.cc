// base/check.cc - the end of the road for a broken invariant.
#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace snowglobe::base {

void assertion_failed(const char* expression, const char* message, const char* file, int line) {
  std::fprintf(stderr, "snowglobe: assertion failed: %s (%s) at %s:%d\n", message, expression, file,
               line);
  std::abort();
}

}  // namespace snowglobe::base
