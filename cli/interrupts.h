// cli/interrupts.h - Ctrl-C in three stages: cancel what runs, close cleanly, exit at once.
//
// SIGINT, SIGTERM and SIGHUP are blocked in all threads and read by one thread of this class, so
// that what they set off may take locks. SIGTERM and SIGHUP begin with the second stage.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <sys/types.h>
#include <thread>
#include <vector>

namespace snowglobe::cli {

/// One of them in a program, made before any other thread. Thread rule: any thread.
class Interrupts {
 public:
  Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;
  ~Interrupts();

  /// While it lives, its function is what a stage does. It does not run, nor goes on running, after
  /// the end of the object.
  class [[nodiscard]] Scope {
   public:
    Scope(Interrupts& owner, std::vector<std::function<void()>>& list,
          std::function<void()> action);
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope();

   private:
    Interrupts& owner_;
    std::vector<std::function<void()>>& list_;
  };
  /// The innermost one is what the first Ctrl-C calls. Without any, the first is as the second.
  Scope on_cancel(std::function<void()> action);
  /// The second Ctrl-C calls all of them, the innermost first.
  Scope on_close(std::function<void()> action);

  /// Requested by the second stage.
  [[nodiscard]] std::stop_token closing() const { return closing_.get_token(); }
  /// Whether anything came since rearm().
  [[nodiscard]] bool interrupted() const { return count_ > 0; }
  /// 128 + the first signal that came since rearm(), or 130.
  [[nodiscard]] int exit_code() const;
  /// A phase is over: the next Ctrl-C is a first one again.
  void rearm();
  /// Readable as soon as something came, until rearm(): for poll().
  [[nodiscard]] int descriptor() const { return event_; }

  /// While a child runs in the foreground, Ctrl-C is its own: a terminal sends it there as well.
  /// What somebody sent to this process alone is passed on, also if it came before this call.
  void hand_over(pid_t child);
  void take_back() { child_ = 0; }

 private:
  void watch();
  void take(int signal, bool from_terminal);
  void act(int stage, unsigned round);

  std::atomic<int> count_ = 0;
  std::atomic<int> first_signal_ = 0;
  std::atomic<pid_t> child_ = 0;
  int signals_ = -1;                 // signalfd
  int event_ = -1;                   // eventfd
  int end_ = -1;                     // eventfd that ends watch()
  std::atomic<unsigned> round_ = 0;  ///< of rearm()
  std::stop_source closing_;
  std::mutex child_mutex_;  // between hand_over() and a signal that comes
  std::mutex mutex_;        // the lists, and the action that runs
  std::vector<std::function<void()>> cancel_, close_;
  std::vector<std::jthread> actions_;
  std::jthread watcher_;
};

}  // namespace snowglobe::cli
