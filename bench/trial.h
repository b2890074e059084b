// bench/trial.h - what is measured in a process of its own, since what a process did before would
// show: this program runs itself with --trial.
#pragma once

#include "bench/bench.h"
#include <map>
#include <string>
#include <vector>

namespace bench {

/// The hidden first argument.
constexpr const char* kTrialArgument = "--trial";

struct Trial {
  std::string name;  ///< "open", "forks" or "log"
  snowglobe::Start start = snowglobe::Start::warm;
  int count = 1;          ///< of databases that are opened one after the other, of forks, or of MB
  std::string path = {};  ///< of the database; empty: in memory
  std::map<std::string, std::string> environment = {};
};

/// How an open went, in milliseconds.
struct Open {
  double open = 0;   ///< open_in_memory() alone
  double query = 0;  ///< the first statement
  double all = 0;    ///< in a new process from main() on
};

struct TrialResult {
  std::string started;   ///< Info::started
  std::string why_cold;  ///< Info::why_cold
  /// Of a new process, of the next one when the first is closed, of one beside another.
  std::vector<Open> opens;
  double from_exec = 0;  ///< ms from before the process was made to the first answer
  std::map<std::string, double> figures;  ///< of "forks": MB each, by kind
};

/// Throws std::runtime_error with the output if it fails.
TrialResult run_trial(const Bench& bench, const Trial& trial);
/// Of "log": opens the database, writes so many MB of log, and is killed. Throws likewise.
void run_until_killed(const Bench& bench, const Trial& trial);

/// What "log" does with any server.
inline constexpr const char* kLogTable =
    "drop table if exists logged; create table logged(id int, word text); checkpoint";
std::string log_statement(int megabytes);

/// main() of such a process: `arguments` are those behind kTrialArgument.
int trial_main(const std::vector<std::string>& arguments,
               std::chrono::steady_clock::time_point started);

}  // namespace bench
