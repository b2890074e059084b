// api/src/guest_input.h - what a program of the guest is still to be sent.
#pragma once

#include <snowglobe/export.hpp>
#include <snowglobe/guest.hpp>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace snowglobe::detail {

/// Between whoever writes and the exec() that sends. Guarded by its mutex.
struct GuestInputState {
  std::mutex mutex;
  std::condition_variable changed;
  std::string bytes;
  std::vector<int> signals;
  std::optional<TerminalSize> size;  ///< that its terminal is to have
  bool closed = false;
  bool over = false;           ///< the program has ended, or was never started
  std::function<void()> wake;  ///< there is something to send; called without the mutex
};

}  // namespace snowglobe::detail
