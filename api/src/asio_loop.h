// api/src/asio_loop.h - the machine's event loop as an asio::io_context: sockets, timers and posted
// work of one machine all run on its own thread, while it idles and between slices of guest code.
#pragma once

#include "base/adaptive_spin.h"
#include "vm/backends.h"
#include <snowglobe/export.hpp>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <atomic>

namespace snowglobe::detail {

class AsioLoop final : public vm::EventLoop {
 public:
  AsioLoop();

  void poll() override;
  void wait(base::Nanoseconds limit) override;
  void wake() noexcept override;

  [[nodiscard]] asio::io_context& context() { return context_; }

 private:
  asio::io_context context_;
  // Without work run_one_for() would return at once: an idle machine would spin.
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::atomic<bool> woken_ = false;
  base::AdaptiveSpin spin_;
};

}  // namespace snowglobe::detail
