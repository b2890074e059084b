// base/error.h - the error value that all layers share: a code, a sentence, and Result<T>.
// Used below the public face, which turns an Error into an exception (api/src/errors.cc).
#pragma once

#include "base/check.h"

#include <cstdint>
#include <string>
#include <utility>
#include <variant>

namespace snowglobe::base {

/// What a caller can act on. Choose by the question "what now?", not by the place.
enum class ErrorCode : std::uint8_t {
  kInvalidArgument,    ///< the caller passed something that can never work
  kNotFound,           ///< a file, image or snapshot is not there
  kAlreadyExists,      ///< a name is taken
  kCorrupt,            ///< bytes from outside do not check out (hash, format, range)
  kUnsupported,        ///< well-formed, but not something that this build or host can do
  kResourceExhausted,  ///< memory, disk, descriptors or a limit of ours ran out
  kUnavailable,        ///< not now (busy, stopped); trying again may work
  kTimeout,            ///< a time limit passed
  kCancelled,          ///< somebody asked for it to stop
  kGuestCrashed,       ///< the guest died: panic, triple fault, dead postmaster
  kIo,                 ///< the host's operating system refused (message has errno's text)
  kInternal,           ///< a bug of ours that was noticed in time
};

/// A code and one sentence: what was attempted, on what, and what to do.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
};

/// Either a value or an Error. Test with ok() before value(); value() on an error aborts.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit

  [[nodiscard]] bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  [[nodiscard]] T& value() & {
    SG_ASSERT(ok(), "Result::value() on an error");
    return std::get<0>(state_);
  }
  [[nodiscard]] const T& value() const& {
    SG_ASSERT(ok(), "Result::value() on an error");
    return std::get<0>(state_);
  }
  /// By value: what a temporary Result holds must outlive it, as in for (x : f().value()).
  [[nodiscard]] T value() && {
    SG_ASSERT(ok(), "Result::value() on an error");
    return std::get<0>(std::move(state_));
  }
  [[nodiscard]] const Error& error() const {
    SG_ASSERT(!ok(), "Result::error() on a value");
    return std::get<1>(state_);
  }

 private:
  std::variant<T, Error> state_;
};

/// Result without a value.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), ok_(false) {}  // NOLINT: implicit

  [[nodiscard]] bool ok() const { return ok_; }
  explicit operator bool() const { return ok_; }
  [[nodiscard]] const Error& error() const {
    SG_ASSERT(!ok_, "Result::error() on a value");
    return error_;
  }

 private:
  Error error_;
  bool ok_ = true;
};

}  // namespace snowglobe::base
