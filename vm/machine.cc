// vm/machine.cc - the machine's thread and its handle: start, stop, pause, resume, and fork().
#include "vm/machine.h"

#include "base/check.h"
#include "vm/blocked_signals.h"
#include "vm/machine_core.h"

#include <mutex>
#include <pthread.h>
#include <signal.h>
#include <system_error>
#include <thread>
#include <unistd.h>

namespace snowglobe::vm {

namespace {

using base::Error;
using base::ErrorCode;

class ThreadedMachine final : public Machine {
 public:
  explicit ThreadedMachine(std::unique_ptr<MachineCore> core)
      : owner_(::getpid()), body_(std::make_unique<Body>()) {
    body_->core = std::move(core);
  }

  ~ThreadedMachine() override {
    if (forked()) {
      // Thread, locks and events belong to the parent. Whatever we did to our copy of them could
      // hang or reach the parent's memory file: so leave it where it is.
      static_cast<void>(body_.release());
      return;
    }
    SG_ASSERT(!on_machine_thread(), "a machine must not be destroyed on its own thread");
    stop();
  }

  base::Result<void> start(std::function<void(MachineEnd)> on_end) override {
    if (forked()) return Error{ErrorCode::kUnavailable, "start the machine: it is the parent's"};
    const std::lock_guard lock(body_->mutex);
    if (body_->started) return Error{ErrorCode::kUnavailable, "start the machine: it was before"};
    const AsyncSignalsBlocked blocked;
    try {
      body_->thread = std::thread([core = body_->core.get(), on_end = std::move(on_end)] {
        pthread_setname_np(pthread_self(), "snowglobe-vm");
        const MachineEnd end = core->run();
        if (on_end) on_end(end);
      });
    } catch (const std::system_error& refused) {
      return Error{ErrorCode::kResourceExhausted,
                   std::string("start the machine's thread: ") + refused.what()};
    }
    body_->started = true;
    body_->thread_id.store(body_->thread.get_id());
    return {};
  }

  void stop() override {
    if (forked()) return;
    body_->core->ask_stop();
    if (on_machine_thread()) return;  // joined by whoever stops or destroys from outside
    const std::lock_guard lock(body_->mutex);
    if (body_->thread.joinable()) body_->thread.join();
  }

  void pause() override {
    if (forked()) return;
    body_->core->ask_pause();
    if (on_machine_thread()) return;  // takes effect when the caller returns to the loop
    const std::lock_guard lock(body_->mutex);
    if (body_->started) body_->core->wait_until_paused();
  }

  void resume() override {
    if (!forked()) body_->core->ask_resume();
  }

  base::FrameTransmitter* network() override { return body_->core->board().network(); }

  std::size_t send_to_port(std::size_t index, base::ConstBytes data) override {
    VirtioConsole* console = body_->core->board().console();
    return console == nullptr ? 0 : console->send(index, data);
  }

  bool port_open(std::size_t index) const override {
    const VirtioConsole* console = std::as_const(*body_->core).board().console();
    return console != nullptr && console->port_open(index);
  }

  void disks_grew() override {
    if (!forked()) body_->core->board().disks_grew();
  }

  MachineStatistics statistics() const override { return body_->core->statistics(); }

  base::Result<MachineImage> capture() override {
    if (forked()) return Error{ErrorCode::kUnavailable, "capture the machine: it is the parent's"};
    return body_->core->capture();
  }

  base::Result<void> restore(const MachineImage& image) override {
    if (forked()) return Error{ErrorCode::kUnavailable, "restore the machine: it is the parent's"};
    return body_->core->restore(image);
  }

  std::shared_ptr<const CodeImage> code() override {
    Translator* const translator = translator_if_ours();
    return translator != nullptr ? translator->code_image() : nullptr;
  }
  std::shared_ptr<const CodeImage> new_code() override {
    Translator* const translator = translator_if_ours();
    return translator != nullptr ? translator->new_code() : nullptr;
  }
  void learn_from(const std::shared_ptr<const CodeImage>& code) override {
    Translator* const translator = translator_if_ours();
    if (translator != nullptr && code != nullptr) translator->learn_from(code);
  }

  MachineCore* core() override { return body_->core.get(); }

 private:
  struct Body {
    std::unique_ptr<MachineCore> core;
    std::mutex mutex;  ///< orders start, pause and the join
    bool started = false;
    std::thread thread;
    std::atomic<std::thread::id> thread_id{};
  };

  [[nodiscard]] bool forked() const { return ::getpid() != owner_; }
  /// Null on the interpreter, and in a forked child.
  [[nodiscard]] Translator* translator_if_ours() const {
    return forked() ? nullptr : body_->core->translator();
  }
  [[nodiscard]] bool on_machine_thread() const {
    return body_->thread_id.load() == std::this_thread::get_id();
  }

  pid_t owner_;
  std::unique_ptr<Body> body_;
};

}  // namespace

base::Result<std::unique_ptr<Machine>> Machine::create(const MachineConfig& config) {
  base::Result<std::unique_ptr<MachineCore>> core = MachineCore::create(config);
  if (!core) return core.error();
  return std::unique_ptr<Machine>(std::make_unique<ThreadedMachine>(std::move(core).value()));
}

}  // namespace snowglobe::vm
