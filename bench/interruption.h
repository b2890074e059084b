// bench/interruption.h - Ctrl-C ends the benchmark by an exception, so that servers and folders go.
#pragma once

namespace bench {

/// From now on SIGINT, SIGTERM and SIGHUP are remembered.
void catch_interruptions();
/// For a child process: they end it.
void default_interruptions();
/// Throws std::runtime_error once one of them came.
void throw_if_interrupted();

}  // namespace bench
