// base/check.h - assertions for our own bugs: SG_ASSERT always, SG_DCHECK in debug builds only.
// Never for what a guest, a frame or a file can say: that is validated and answered with an Error.
#pragma once

namespace snowglobe::base {

/// Prints the expression, the message and the place to stderr and aborts.
[[noreturn]] void assertion_failed(const char* expression, const char* message, const char* file,
                                   int line);

}  // namespace snowglobe::base

#define SG_ASSERT(expression, message) \
  (static_cast<bool>(expression)       \
       ? static_cast<void>(0)          \
       : ::snowglobe::base::assertion_failed(#expression, message, __FILE__, __LINE__))

#ifdef NDEBUG
#define SG_DCHECK(expression, message) static_cast<void>(0)
#else
#define SG_DCHECK(expression, message) SG_ASSERT(expression, message)
#endif
