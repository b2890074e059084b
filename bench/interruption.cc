// bench/interruption.cc - a flag that signal handlers set.
#include "bench/interruption.h"

#include <array>
#include <csignal>
#include <stdexcept>

namespace bench {
namespace {

constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP};
volatile std::sig_atomic_t interrupted = 0;

void remember(int) {
  interrupted = 1;
}

void install(void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  for (const int signal : kSignals)
    ::sigaction(signal, &action, nullptr);
}

}  // namespace

void catch_interruptions() {
  install(remember);
}

void default_interruptions() {
  install(SIG_DFL);
}

void throw_if_interrupted() {
  if (interrupted != 0) throw std::runtime_error("interrupted");
}

}  // namespace bench
