// api/src/leak.h - lets a handle go without giving up its share: for copies in a forked child,
// whose object is the parent's.
#pragma once

#include <snowglobe/export.hpp>

#include <memory>
#include <utility>

namespace snowglobe::detail {

/// Holds a handle whose destructor never runs.
template <class T>
union Leaked {
  explicit Leaked(std::shared_ptr<T>&& handle) noexcept : pointer(std::move(handle)) {}
  ~Leaked() {}

  std::shared_ptr<T> pointer;
};

/// `handle` is null afterwards, and what it shared is never destroyed by this process.
template <class T>
void leak(std::shared_ptr<T>& handle) noexcept {
  const Leaked<T> leaked(std::move(handle));
}

}  // namespace snowglobe::detail
