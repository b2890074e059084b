// vm/blocked_signals.h - threads of ours must not run the application's signal handlers.
#pragma once

#include <signal.h>

namespace snowglobe::vm {

/// Blocks all signals that are not the fault of the thread itself, for the life of the object: a
/// thread that is started meanwhile inherits that, and the application's handlers never run on it.
class AsyncSignalsBlocked {
 public:
  AsyncSignalsBlocked() {
    sigset_t blocked;
    sigfillset(&blocked);
    for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS}) {
      sigdelset(&blocked, signal);
    }
    pthread_sigmask(SIG_SETMASK, &blocked, &before_);
  }
  ~AsyncSignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  AsyncSignalsBlocked(const AsyncSignalsBlocked&) = delete;
  AsyncSignalsBlocked& operator=(const AsyncSignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

}  // namespace snowglobe::vm
