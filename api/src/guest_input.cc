// api/src/guest_input.cc - bytes and signals for a program of the guest.
#include "api/src/guest_input.h"

#include <snowglobe/guest.hpp>

#include <utility>

namespace snowglobe {
inline namespace v1 {
namespace {

constexpr std::size_t kMostUnread = std::size_t{1} << 20;

/// Changes the state and tells the exec() that is under way, if one is.
template <class Change>
bool change(detail::GuestInputState& state, Change change) {
  std::function<void()> wake;
  {
    std::unique_lock lock(state.mutex);
    change(lock);
    if (state.over) return false;
    wake = state.wake;
  }
  if (wake) wake();
  return true;
}

}  // namespace

GuestInput::GuestInput() : state_(std::make_shared<detail::GuestInputState>()) {}

bool GuestInput::write(std::string_view bytes) {
  return change(*state_, [&](std::unique_lock<std::mutex>& lock) {
    state_->changed.wait(lock, [&] { return state_->over || state_->bytes.size() < kMostUnread; });
    state_->bytes += bytes;
  });
}

void GuestInput::close() {
  change(*state_, [&](std::unique_lock<std::mutex>&) { state_->closed = true; });
}

void GuestInput::resize(TerminalSize size) {
  change(*state_, [&](std::unique_lock<std::mutex>&) { state_->size = size; });
}

void GuestInput::signal(int number) {
  change(*state_, [&](std::unique_lock<std::mutex>&) { state_->signals.push_back(number); });
}

}  // namespace v1
}  // namespace snowglobe
