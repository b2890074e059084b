// api/src/progression.cc - how far the guest is, told by the machine's thread to those who wait.
#include "api/src/instance_parts.h"

namespace snowglobe::detail {

void Progression::step(std::string text) {
  const std::lock_guard lock(mutex_);
  ++count_;
  steps_.push_back(std::move(text));
  changed_.notify_all();
}

void Progression::change(State to, std::string reason) {
  const std::lock_guard lock(mutex_);
  // The first end is the reason; what follows is its consequence.
  if (state_ == State::failed || state_ == State::ended || state_ == State::closed) return;
  if (to == State::ready && state_ != State::booting) return;
  state_ = to;
  reason_ = std::move(reason);
  changed_.notify_all();
}

void Progression::ready() {
  change(State::ready, {});
}
void Progression::failed(std::string why) {
  change(State::failed, std::move(why));
}
void Progression::ended(std::string how) {
  change(State::ended, std::move(how));
}
void Progression::closed() {
  change(State::closed, "the database is closed");
}

Progression::State Progression::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

std::string Progression::reason() const {
  const std::lock_guard lock(mutex_);
  return reason_;
}

int Progression::steps() const {
  const std::lock_guard lock(mutex_);
  return count_;
}

Progression::State Progression::wait_while(State state, Deadline deadline) const {
  std::unique_lock lock(mutex_);
  const auto left = [&] { return state_ != state; };
  if (deadline.at()) {
    changed_.wait_until(lock, *deadline.at(), left);
  } else {
    changed_.wait(lock, left);
  }
  return state_;
}

bool Progression::wait_news(Deadline deadline, std::optional<std::string>& step) {
  std::unique_lock lock(mutex_);
  const auto news = [&] { return woken_ || !steps_.empty() || state_ != State::booting; };
  if (!deadline.at()) {
    changed_.wait(lock, news);
  } else if (!changed_.wait_until(lock, *deadline.at(), news)) {
    return false;
  }
  woken_ = false;
  step.reset();
  if (!steps_.empty()) {
    step = std::move(steps_.front());
    steps_.pop_front();
  }
  return true;
}

void Progression::wake() {
  const std::lock_guard lock(mutex_);
  woken_ = true;
  changed_.notify_all();
}

}  // namespace snowglobe::detail
