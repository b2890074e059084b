// api/src/asio_loop.cc - the machine's event loop as an asio::io_context.
#include "api/src/asio_loop.h"

namespace snowglobe::detail {

AsioLoop::AsioLoop() : work_(context_.get_executor()) {}

void AsioLoop::poll() {
  context_.restart();
  context_.poll();
}

void AsioLoop::wait(base::Nanoseconds limit) {
  // wake() sets the flag before it stops the context. A stop before the restart is therefore seen
  // in the flag, and one behind it ends run_one_for().
  context_.restart();
  if (woken_.exchange(false)) {
    context_.poll();
    return;
  }
  const bool came = spin_.spin([this] { return context_.poll() > 0 || context_.stopped(); });
  if (!came) {
    if (context_.run_one_for(limit) > 0) context_.poll();
    spin_.slept();
  }
  woken_.store(false);
}

void AsioLoop::wake() noexcept {
  woken_.store(true);
  context_.stop();
}

}  // namespace snowglobe::detail
