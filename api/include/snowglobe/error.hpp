// snowglobe/error.hpp - every exception that the library throws.
//
// One root, Error. Catch by the question "what now?":
//   SqlError          PostgreSQL refused the statement; the session goes on. Subclasses by
//   SQLSTATE. ConnectionLost    this session is over; open another. TimeoutError      a time limit
//   passed; the statement was cancelled. GuestCrashed      the machine died; open another database.
//   Carries its last console lines. ImageError        the guest image is missing or damaged; the
//   message says what to do. InvalidArgument   the call can never work as written; nothing was
//   sent. ConversionError   a value of a result does not fit the C++ type that was asked for.
//   StaleSession      a restore ended this session (a ConnectionLost); open another.
//   SnapshotError     a snapshot cannot be made, found, read or used; the database is as it was.
//   DatabaseError     a database folder cannot be opened; nothing in it has changed. Subclasses say
//   why. DiskFailed   the host could not write or sync the database's disk; open it again.
#pragma once

#include <snowglobe/export.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace snowglobe {

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

/// A read, a write or a sync of the database's disk failed on the host. It is not tried again,
/// since nobody can say what became of it: close the database and open it again, which recovers
/// what was committed.
class SNOWGLOBE_API DiskFailed : public Error {
 public:
  explicit DiskFailed(const std::string& message) : Error(Errc::disk_failed, message) {}
};

class SNOWGLOBE_API GuestCrashed : public Error {
 public:
  GuestCrashed(const std::string& message, std::vector<std::string> console);
  /// The last lines that the guest wrote to its console, oldest first.
  [[nodiscard]] const std::vector<std::string>& console() const noexcept { return *console_; }

 private:
  std::shared_ptr<const std::vector<std::string>> console_;
};

/// What PostgreSQL says about an error; empty where it says nothing.
struct SqlDiagnostics {
  std::string sqlstate, severity, message, detail, hint, context, schema, table, column, constraint;
  int position = 0;  ///< in characters of the statement, from 1; 0: none
};

class SNOWGLOBE_API SqlError : public Error {
 public:
  explicit SqlError(SqlDiagnostics diagnostics);
  [[nodiscard]] std::string_view sqlstate() const noexcept { return diagnostics_->sqlstate; }
  [[nodiscard]] std::string_view message() const noexcept { return diagnostics_->message; }
  [[nodiscard]] std::string_view detail() const noexcept { return diagnostics_->detail; }
  [[nodiscard]] std::string_view hint() const noexcept { return diagnostics_->hint; }
  [[nodiscard]] std::string_view context() const noexcept { return diagnostics_->context; }
  [[nodiscard]] std::string_view schema() const noexcept { return diagnostics_->schema; }
  [[nodiscard]] std::string_view table() const noexcept { return diagnostics_->table; }
  [[nodiscard]] std::string_view column() const noexcept { return diagnostics_->column; }
  [[nodiscard]] std::string_view constraint() const noexcept { return diagnostics_->constraint; }
  [[nodiscard]] int position() const noexcept { return diagnostics_->position; }

 private:
  std::shared_ptr<const SqlDiagnostics> diagnostics_;  // an exception's copy must not throw
};

// One class a SQLSTATE class (its first two characters) ...
class SNOWGLOBE_API FeatureNotSupported : public SqlError {  // 0A
 public:
  using SqlError::SqlError;
};
class SNOWGLOBE_API DataException : public SqlError {  // 22
 public:
  using SqlError::SqlError;
};
class SNOWGLOBE_API IntegrityConstraintViolation : public SqlError {  // 23
 public:
  using SqlError::SqlError;
};
class SNOWGLOBE_API InvalidTransactionState : public SqlError {  // 25
 public:
  using SqlError::SqlError;
};
class SNOWGLOBE_API TransactionRollback : public SqlError {  // 40
 public:
  using SqlError::SqlError;
};
class SNOWGLOBE_API SyntaxErrorOrAccessRuleViolation : public SqlError {  // 42
 public:
  using SqlError::SqlError;
};
class SNOWGLOBE_API InsufficientResources : public SqlError {  // 53
 public:
  using SqlError::SqlError;
};
class SNOWGLOBE_API ObjectNotInPrerequisiteState : public SqlError {  // 55
 public:
  using SqlError::SqlError;
};
class SNOWGLOBE_API OperatorIntervention : public SqlError {  // 57
 public:
  using SqlError::SqlError;
};
class SNOWGLOBE_API PlpgsqlError : public SqlError {  // P0
 public:
  using SqlError::SqlError;
};

// ... and one for each code that people catch.
class SNOWGLOBE_API StringDataRightTruncation : public DataException {  // 22001
 public:
  using DataException::DataException;
};
class SNOWGLOBE_API NumericValueOutOfRange : public DataException {  // 22003
 public:
  using DataException::DataException;
};
class SNOWGLOBE_API DivisionByZero : public DataException {  // 22012
 public:
  using DataException::DataException;
};
class SNOWGLOBE_API InvalidTextRepresentation : public DataException {  // 22P02
 public:
  using DataException::DataException;
};
class SNOWGLOBE_API NotNullViolation : public IntegrityConstraintViolation {  // 23502
 public:
  using IntegrityConstraintViolation::IntegrityConstraintViolation;
};
class SNOWGLOBE_API ForeignKeyViolation : public IntegrityConstraintViolation {  // 23503
 public:
  using IntegrityConstraintViolation::IntegrityConstraintViolation;
};
class SNOWGLOBE_API UniqueViolation : public IntegrityConstraintViolation {  // 23505
 public:
  using IntegrityConstraintViolation::IntegrityConstraintViolation;
};
class SNOWGLOBE_API CheckViolation : public IntegrityConstraintViolation {  // 23514
 public:
  using IntegrityConstraintViolation::IntegrityConstraintViolation;
};
class SNOWGLOBE_API ExclusionViolation : public IntegrityConstraintViolation {  // 23P01
 public:
  using IntegrityConstraintViolation::IntegrityConstraintViolation;
};
class SNOWGLOBE_API ReadOnlyTransaction : public InvalidTransactionState {  // 25006
 public:
  using InvalidTransactionState::InvalidTransactionState;
};
class SNOWGLOBE_API InFailedTransaction : public InvalidTransactionState {  // 25P02
 public:
  using InvalidTransactionState::InvalidTransactionState;
};
class SNOWGLOBE_API SerializationFailure : public TransactionRollback {  // 40001
 public:
  using TransactionRollback::TransactionRollback;
};
class SNOWGLOBE_API DeadlockDetected : public TransactionRollback {  // 40P01
 public:
  using TransactionRollback::TransactionRollback;
};
class SNOWGLOBE_API InsufficientPrivilege : public SyntaxErrorOrAccessRuleViolation {  // 42501
 public:
  using SyntaxErrorOrAccessRuleViolation::SyntaxErrorOrAccessRuleViolation;
};
class SNOWGLOBE_API SyntaxError : public SyntaxErrorOrAccessRuleViolation {  // 42601
 public:
  using SyntaxErrorOrAccessRuleViolation::SyntaxErrorOrAccessRuleViolation;
};
class SNOWGLOBE_API UndefinedColumn : public SyntaxErrorOrAccessRuleViolation {  // 42703
 public:
  using SyntaxErrorOrAccessRuleViolation::SyntaxErrorOrAccessRuleViolation;
};
class SNOWGLOBE_API UndefinedFunction : public SyntaxErrorOrAccessRuleViolation {  // 42883
 public:
  using SyntaxErrorOrAccessRuleViolation::SyntaxErrorOrAccessRuleViolation;
};
class SNOWGLOBE_API UndefinedTable : public SyntaxErrorOrAccessRuleViolation {  // 42P01
 public:
  using SyntaxErrorOrAccessRuleViolation::SyntaxErrorOrAccessRuleViolation;
};
class SNOWGLOBE_API DuplicateTable : public SyntaxErrorOrAccessRuleViolation {  // 42P07
 public:
  using SyntaxErrorOrAccessRuleViolation::SyntaxErrorOrAccessRuleViolation;
};
class SNOWGLOBE_API DiskFull : public InsufficientResources {  // 53100
 public:
  using InsufficientResources::InsufficientResources;
};
class SNOWGLOBE_API OutOfMemory : public InsufficientResources {  // 53200
 public:
  using InsufficientResources::InsufficientResources;
};
class SNOWGLOBE_API TooManyConnections : public InsufficientResources {  // 53300
 public:
  using InsufficientResources::InsufficientResources;
};
class SNOWGLOBE_API LockNotAvailable : public ObjectNotInPrerequisiteState {  // 55P03
 public:
  using ObjectNotInPrerequisiteState::ObjectNotInPrerequisiteState;
};
class SNOWGLOBE_API QueryCanceled : public OperatorIntervention {  // 57014
 public:
  using OperatorIntervention::OperatorIntervention;
};
class SNOWGLOBE_API RaiseException : public PlpgsqlError {  // P0001
 public:
  using PlpgsqlError::PlpgsqlError;
};

}  // namespace snowglobe

template <>
struct std::is_error_code_enum<snowglobe::Errc> : std::true_type {};
