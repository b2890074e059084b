// snowglobe/error.hpp - every exception that the library throws, but for those of sql_errors.hpp.
//
// One root, Error. Catch by the question "what now?"; docs/api.md has the table:
//   SqlError          PostgreSQL refused the statement; the session goes on (sql_errors.hpp)
//   ConnectionLost    this session is over; open another
//   StaleSession      a restore ended this session (a ConnectionLost); open another
//   PipelineAborted   not run, since an earlier statement of its pipeline failed
//   TimeoutError      a time limit passed; the statement was cancelled
//   GuestCrashed      the machine died; open another database. Has its last console lines
//   ImageError        the guest image is missing or damaged; the message says what to do
//   InvalidArgument   the call can never work as written; nothing was sent
//   ConversionError   a value of a result does not fit the C++ type that was asked for
//   SnapshotError     a snapshot cannot be made, found, read or used; the database is as it was.
//                     Subclasses say why
//   DatabaseError     a database folder cannot be opened; nothing in it has changed. Subclasses
//                     say why
//   DiskFailed        the host could not write or sync the database's disk; open it again
//   AddressError      expose() cannot listen there (AddressInUse: somebody else does)
#pragma once

#include <snowglobe/export.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace snowglobe {
inline namespace v1 {

enum class Errc : int {
  invalid_argument = 1,
  conversion,
  sql,
  connection_lost,
  timeout,
  cancelled,
  image,
  guest_crashed,
  resource_exhausted,
  unsupported,
  io,
  internal,
  stale_session,
  snapshot,
  snapshot_not_found,
  snapshot_damaged,
  database,
  database_not_found,
  database_exists,
  database_locked,
  database_damaged,
  database_incompatible,
  database_not_ours,
  disk_failed,
  pipeline_aborted,
  snapshot_exists,
  snapshot_in_use,
  snapshot_incompatible,
  address,
  address_in_use,
};

[[nodiscard]] SNOWGLOBE_API const std::error_category& error_category() noexcept;
[[nodiscard]] SNOWGLOBE_API std::error_code make_error_code(Errc code) noexcept;

/// Root of all exceptions of the library.
class SNOWGLOBE_API Error : public std::runtime_error {
 public:
  Error(Errc code, const std::string& message) : std::runtime_error(message), code_(code) {}
  [[nodiscard]] std::error_code code() const noexcept { return make_error_code(code_); }

 private:
  Errc code_;
};

class SNOWGLOBE_API InvalidArgument : public Error {
 public:
  explicit InvalidArgument(const std::string& message) : Error(Errc::invalid_argument, message) {}
};

class SNOWGLOBE_API ConversionError : public Error {
 public:
  explicit ConversionError(const std::string& message) : Error(Errc::conversion, message) {}
};

class SNOWGLOBE_API TimeoutError : public Error {
 public:
  explicit TimeoutError(const std::string& message) : Error(Errc::timeout, message) {}
};

/// Options::stop was requested while the database was opening.
class SNOWGLOBE_API Cancelled : public Error {
 public:
  explicit Cancelled(const std::string& message) : Error(Errc::cancelled, message) {}
};

class SNOWGLOBE_API ImageError : public Error {
 public:
  explicit ImageError(const std::string& message) : Error(Errc::image, message) {}
};

/// The session's connection is gone. sqlstate() is set if the server said why (57P01: somebody
/// called pg_terminate_backend), and empty if it did not get to.
class SNOWGLOBE_API ConnectionLost : public Error {
 public:
  explicit ConnectionLost(const std::string& message, std::string_view sqlstate = {})
      : Error(Errc::connection_lost, message), sqlstate_(sqlstate) {}
  [[nodiscard]] std::string_view sqlstate() const noexcept { return sqlstate_; }

 protected:
  ConnectionLost(Errc code, const std::string& message, std::string_view sqlstate)
      : Error(code, message), sqlstate_(sqlstate) {}

 private:
  std::string sqlstate_;
};

/// Database::restore() put the machine back to a moment at which this session was not there, or
/// was not idle outside of a transaction, or it was not so just now. Open another.
class SNOWGLOBE_API StaleSession : public ConnectionLost {
 public:
  explicit StaleSession(const std::string& message)
      : ConnectionLost(Errc::stale_session, message, "57P01") {}
};

/// A statement of a Pipeline that the server passed over, since one before it had failed.
class SNOWGLOBE_API PipelineAborted : public Error {
 public:
  explicit PipelineAborted(const std::string& message) : Error(Errc::pipeline_aborted, message) {}
};

/// A snapshot cannot be made, found, read, stored or used here; the message says why. The running
/// database is as it was.
class SNOWGLOBE_API SnapshotError : public Error {
 public:
  explicit SnapshotError(const std::string& message) : Error(Errc::snapshot, message) {}

 protected:
  SnapshotError(Errc code, const std::string& message) : Error(code, message) {}
};

/// No snapshot goes by this id, name or tag, or several do.
class SNOWGLOBE_API SnapshotNotFound : public SnapshotError {
 public:
  explicit SnapshotNotFound(const std::string& message)
      : SnapshotError(Errc::snapshot_not_found, message) {}
};

/// What is stored does not check out; the message names the piece.
class SNOWGLOBE_API SnapshotDamaged : public SnapshotError {
 public:
  explicit SnapshotDamaged(const std::string& message)
      : SnapshotError(Errc::snapshot_damaged, message) {}
};

/// The name is another snapshot's, the file is there already, or the store has this snapshot with
/// other contents.
class SNOWGLOBE_API SnapshotExists : public SnapshotError {
 public:
  explicit SnapshotExists(const std::string& message)
      : SnapshotError(Errc::snapshot_exists, message) {}
};

/// Somebody else reads the snapshot, or writes to its store, and went on doing so for as long as
/// was waited. Try again later.
class SNOWGLOBE_API SnapshotInUse : public SnapshotError {
 public:
  explicit SnapshotInUse(const std::string& message)
      : SnapshotError(Errc::snapshot_in_use, message) {}
};

/// It needs another guest image or another size of memory than is here, or was written by a newer
/// version of the library; the message says which.
class SNOWGLOBE_API SnapshotIncompatible : public SnapshotError {
 public:
  explicit SnapshotIncompatible(const std::string& message)
      : SnapshotError(Errc::snapshot_incompatible, message) {}
};

/// A database folder cannot be opened, and nothing in it has changed; the message says what to do.
class SNOWGLOBE_API DatabaseError : public Error {
 public:
  explicit DatabaseError(const std::string& message) : Error(Errc::database, message) {}

 protected:
  DatabaseError(Errc code, const std::string& message) : Error(code, message) {}
};

/// There is none, and Options::create says that there should be, or the open is read-only.
class SNOWGLOBE_API DatabaseNotFound : public DatabaseError {
 public:
  explicit DatabaseNotFound(const std::string& message)
      : DatabaseError(Errc::database_not_found, message) {}
};

/// There is one, and Options::create wants a new one.
class SNOWGLOBE_API DatabaseExists : public DatabaseError {
 public:
  explicit DatabaseExists(const std::string& message)
      : DatabaseError(Errc::database_exists, message) {}
};

/// Somebody else has it open.
class SNOWGLOBE_API DatabaseLocked : public DatabaseError {
 public:
  DatabaseLocked(const std::string& message, int pid, const std::string& program,
                 const std::string& since);
  /// As far as it is known: 0 and empty if not (somebody on another host, say).
  [[nodiscard]] int pid() const noexcept { return pid_; }
  [[nodiscard]] const std::string& program() const noexcept { return who_->program; }
  /// ISO 8601, UTC.
  [[nodiscard]] const std::string& since() const noexcept { return who_->since; }

 private:
  struct Who {
    std::string program, since;
  };
  int pid_;
  std::shared_ptr<const Who> who_;  // an exception's copy must not throw
};

/// What is in the folder does not check out; the message names the file. A copy of it is worth
/// keeping before anything else is tried.
class SNOWGLOBE_API DatabaseDamaged : public DatabaseError {
 public:
  explicit DatabaseDamaged(const std::string& message)
      : DatabaseError(Errc::database_damaged, message) {}
};

/// It was made by a newer version of the library, or by an image with another PostgreSQL major; the
/// message names the way on.
class SNOWGLOBE_API DatabaseIncompatible : public DatabaseError {
 public:
  explicit DatabaseIncompatible(const std::string& message)
      : DatabaseError(Errc::database_incompatible, message) {}
};

/// The folder, or file, is another program's.
class SNOWGLOBE_API NotADatabase : public DatabaseError {
 public:
  explicit NotADatabase(const std::string& message)
      : DatabaseError(Errc::database_not_ours, message) {}
};

/// A write or a sync of the database's disk failed on the host. It is not tried again,
/// since nobody can say what became of it: close the database and open it again, which recovers
/// what was committed.
class SNOWGLOBE_API DiskFailed : public Error {
 public:
  explicit DiskFailed(const std::string& message) : Error(Errc::disk_failed, message) {}
};

/// Database::expose() cannot listen there: the address is none of this host's, the folder is not
/// there, the port is for root only, ... The message has the host's words.
class SNOWGLOBE_API AddressError : public Error {
 public:
  explicit AddressError(const std::string& message) : Error(Errc::address, message) {}

 protected:
  AddressError(Errc code, const std::string& message) : Error(code, message) {}
};

/// Somebody listens there already: take another port, or 0 for any free one.
class SNOWGLOBE_API AddressInUse : public AddressError {
 public:
  explicit AddressInUse(const std::string& message) : AddressError(Errc::address_in_use, message) {}
};

class SNOWGLOBE_API GuestCrashed : public Error {
 public:
  GuestCrashed(const std::string& message, std::vector<std::string> console);
  /// The last lines that the guest wrote to its console, oldest first.
  [[nodiscard]] const std::vector<std::string>& console() const noexcept { return *console_; }

 private:
  std::shared_ptr<const std::vector<std::string>> console_;
};

}  // namespace v1
}  // namespace snowglobe

template <>
struct std::is_error_code_enum<snowglobe::Errc> : std::true_type {};
