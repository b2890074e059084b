// cli/input_thread.cc - a thread that polls standard input and the end of its owner.
#include "cli/input_thread.h"

#include "cli/failure.h"
#include <cerrno>
#include <cstdint>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace snowglobe::cli {
namespace {

int new_event() {
  const int event = eventfd(0, EFD_CLOEXEC);
  if (event >= 0) return event;
  throw Failure(kFailed, fmt::format("cannot read standard input: {}",
                                     std::system_category().message(errno)));
}

}  // namespace

InputThread::InputThread(std::function<bool(std::string_view)> take, std::function<void()> look,
                         std::chrono::milliseconds every)
    : end_(new_event()), thread_([this, take = std::move(take), look = std::move(look), every] {
        run(take, look, static_cast<int>(every.count()));
      }) {}

InputThread::~InputThread() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(end_, &one, sizeof one);
  thread_.join();
  close(end_);
}

void InputThread::run(const std::function<bool(std::string_view)>& take,
                      const std::function<void()>& look, int every_ms) const {
  char block[1 << 16];
  for (;;) {
    pollfd both[] = {{STDIN_FILENO, POLLIN, 0}, {end_, POLLIN, 0}};
    if (poll(both, 2, every_ms) < 0) continue;
    if (both[1].revents != 0) return;
    if (look) look();
    if (both[0].revents == 0) continue;
    const ssize_t got = read(STDIN_FILENO, block, sizeof block);
    if (!take({block, static_cast<std::size_t>(got > 0 ? got : 0)}) || got <= 0) return;
  }
}

}  // namespace snowglobe::cli
