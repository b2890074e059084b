// cli/exit_codes.h - what a script can act on. Documented in docs/cli.md; the numbers do not
// change.
#pragma once

namespace snowglobe::cli {

enum ExitCode : int {
  kOk = 0,
  kFailed = 1,
  kUsage = 2,
  kSqlError = 3,
  kNotFound = 4,      ///< no such database, store, snapshot or file
  kLocked = 5,        ///< another process has the database
  kNoImage = 6,       ///< the guest image is missing or damaged
  kIncompatible = 7,  ///< a snapshot or database of another image, format or size
  kDamaged = 8,       ///< a checksum does not hold
  kNotStarted = 9,    ///< the guest did not start in time, or crashed
  kAddress = 10,      ///< nothing can listen there: the port is in use, say
  kInterrupted = 130,
};

}  // namespace snowglobe::cli
