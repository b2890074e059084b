// snowglobe/sql_errors.hpp - what PostgreSQL refused, as exceptions: one class for each class of
// SQLSTATEs (its first two characters), and one for each single code that people catch.
//
//   try { db.execute("insert into t values (1)"); }
//   catch (const snowglobe::UniqueViolation& error) { use(error.constraint()); }
//   catch (const snowglobe::IntegrityConstraintViolation& error) { ... }   // any other of 23xxx
//
// Names are those of PostgreSQL's documentation, Appendix A. A code that is not here is thrown as
// its class, and a class that is not here as SqlError.
#pragma once

#include <snowglobe/error.hpp>

namespace snowglobe {
inline namespace v1 {

/// What PostgreSQL says about an error; empty where it says nothing.
struct SqlDiagnostics {
  std::string sqlstate, severity, message, detail, hint, context, schema, table, column, constraint;
  int position = 0;  ///< in characters of the statement, from 1; 0: none
};

/// PostgreSQL refused a statement. The session goes on; a transaction is to be rolled back.
class SNOWGLOBE_API SqlError : public Error {
 public:
  explicit SqlError(SqlDiagnostics diagnostics);
  /// Five characters, e.g. "23505".
  [[nodiscard]] std::string_view sqlstate() const noexcept { return diagnostics_->sqlstate; }
  [[nodiscard]] std::string_view message() const noexcept { return diagnostics_->message; }
  [[nodiscard]] std::string_view detail() const noexcept { return diagnostics_->detail; }
  [[nodiscard]] std::string_view hint() const noexcept { return diagnostics_->hint; }
  [[nodiscard]] std::string_view context() const noexcept { return diagnostics_->context; }
  [[nodiscard]] std::string_view schema() const noexcept { return diagnostics_->schema; }
  [[nodiscard]] std::string_view table() const noexcept { return diagnostics_->table; }
  [[nodiscard]] std::string_view column() const noexcept { return diagnostics_->column; }
  [[nodiscard]] std::string_view constraint() const noexcept { return diagnostics_->constraint; }
  /// In characters of the statement, from 1; 0: none.
  [[nodiscard]] int position() const noexcept { return diagnostics_->position; }
  [[nodiscard]] const SqlDiagnostics& diagnostics() const noexcept { return *diagnostics_; }

 private:
  std::shared_ptr<const SqlDiagnostics> diagnostics_;  // an exception's copy must not throw
};

// --- classes

/// Class 03.
struct SNOWGLOBE_API SqlStatementNotYetComplete : SqlError {
  using SqlError::SqlError;
};
/// Class 08.
struct SNOWGLOBE_API ConnectionException : SqlError {
  using SqlError::SqlError;
};
/// Class 09.
struct SNOWGLOBE_API TriggeredActionException : SqlError {
  using SqlError::SqlError;
};
/// Class 0A.
struct SNOWGLOBE_API FeatureNotSupported : SqlError {
  using SqlError::SqlError;
};
/// Class 0B.
struct SNOWGLOBE_API InvalidTransactionInitiation : SqlError {
  using SqlError::SqlError;
};
/// Class 0F.
struct SNOWGLOBE_API LocatorException : SqlError {
  using SqlError::SqlError;
};
/// Class 0L.
struct SNOWGLOBE_API InvalidGrantor : SqlError {
  using SqlError::SqlError;
};
/// Class 0P.
struct SNOWGLOBE_API InvalidRoleSpecification : SqlError {
  using SqlError::SqlError;
};
/// Class 0Z.
struct SNOWGLOBE_API DiagnosticsException : SqlError {
  using SqlError::SqlError;
};
/// Class 20.
struct SNOWGLOBE_API CaseNotFound : SqlError {
  using SqlError::SqlError;
};
/// Class 21.
struct SNOWGLOBE_API CardinalityViolation : SqlError {
  using SqlError::SqlError;
};
/// Class 22.
struct SNOWGLOBE_API DataException : SqlError {
  using SqlError::SqlError;
};
/// Class 23.
struct SNOWGLOBE_API IntegrityConstraintViolation : SqlError {
  using SqlError::SqlError;
};
/// Class 24.
struct SNOWGLOBE_API InvalidCursorState : SqlError {
  using SqlError::SqlError;
};
/// Class 25.
struct SNOWGLOBE_API InvalidTransactionState : SqlError {
  using SqlError::SqlError;
};
/// Class 26.
struct SNOWGLOBE_API InvalidSqlStatementName : SqlError {
  using SqlError::SqlError;
};
/// Class 27.
struct SNOWGLOBE_API TriggeredDataChangeViolation : SqlError {
  using SqlError::SqlError;
};
/// Class 28.
struct SNOWGLOBE_API InvalidAuthorizationSpecification : SqlError {
  using SqlError::SqlError;
};
/// Class 2B.
struct SNOWGLOBE_API DependentPrivilegeDescriptorsStillExist : SqlError {
  using SqlError::SqlError;
};
/// Class 2D.
struct SNOWGLOBE_API InvalidTransactionTermination : SqlError {
  using SqlError::SqlError;
};
/// Class 2F.
struct SNOWGLOBE_API SqlRoutineException : SqlError {
  using SqlError::SqlError;
};
/// Class 34.
struct SNOWGLOBE_API InvalidCursorName : SqlError {
  using SqlError::SqlError;
};
/// Class 38.
struct SNOWGLOBE_API ExternalRoutineException : SqlError {
  using SqlError::SqlError;
};
/// Class 39.
struct SNOWGLOBE_API ExternalRoutineInvocationException : SqlError {
  using SqlError::SqlError;
};
/// Class 3B.
struct SNOWGLOBE_API SavepointException : SqlError {
  using SqlError::SqlError;
};
/// Class 3D.
struct SNOWGLOBE_API InvalidCatalogName : SqlError {
  using SqlError::SqlError;
};
/// Class 3F.
struct SNOWGLOBE_API InvalidSchemaName : SqlError {
  using SqlError::SqlError;
};
/// Class 40.
struct SNOWGLOBE_API TransactionRollback : SqlError {
  using SqlError::SqlError;
};
/// Class 42.
struct SNOWGLOBE_API SyntaxErrorOrAccessRuleViolation : SqlError {
  using SqlError::SqlError;
};
/// Class 44.
struct SNOWGLOBE_API WithCheckOptionViolation : SqlError {
  using SqlError::SqlError;
};
/// Class 53.
struct SNOWGLOBE_API InsufficientResources : SqlError {
  using SqlError::SqlError;
};
/// Class 54.
struct SNOWGLOBE_API ProgramLimitExceeded : SqlError {
  using SqlError::SqlError;
};
/// Class 55.
struct SNOWGLOBE_API ObjectNotInPrerequisiteState : SqlError {
  using SqlError::SqlError;
};
/// Class 57.
struct SNOWGLOBE_API OperatorIntervention : SqlError {
  using SqlError::SqlError;
};
/// Class 58.
struct SNOWGLOBE_API SystemError : SqlError {
  using SqlError::SqlError;
};
/// Class F0.
struct SNOWGLOBE_API ConfigFileError : SqlError {
  using SqlError::SqlError;
};
/// Class HV.
struct SNOWGLOBE_API FdwError : SqlError {
  using SqlError::SqlError;
};
/// Class P0.
struct SNOWGLOBE_API PlpgsqlError : SqlError {
  using SqlError::SqlError;
};
/// Class XX.
struct SNOWGLOBE_API InternalError : SqlError {
  using SqlError::SqlError;
};

// --- single codes

/// 22001.
struct SNOWGLOBE_API StringDataRightTruncation : DataException {
  using DataException::DataException;
};
/// 22003.
struct SNOWGLOBE_API NumericValueOutOfRange : DataException {
  using DataException::DataException;
};
/// 22007.
struct SNOWGLOBE_API InvalidDatetimeFormat : DataException {
  using DataException::DataException;
};
/// 22008.
struct SNOWGLOBE_API DatetimeFieldOverflow : DataException {
  using DataException::DataException;
};
/// 22012.
struct SNOWGLOBE_API DivisionByZero : DataException {
  using DataException::DataException;
};
/// 22P02.
struct SNOWGLOBE_API InvalidTextRepresentation : DataException {
  using DataException::DataException;
};
/// 23502.
struct SNOWGLOBE_API NotNullViolation : IntegrityConstraintViolation {
  using IntegrityConstraintViolation::IntegrityConstraintViolation;
};
/// 23503.
struct SNOWGLOBE_API ForeignKeyViolation : IntegrityConstraintViolation {
  using IntegrityConstraintViolation::IntegrityConstraintViolation;
};
/// 23505.
struct SNOWGLOBE_API UniqueViolation : IntegrityConstraintViolation {
  using IntegrityConstraintViolation::IntegrityConstraintViolation;
};
/// 23514.
struct SNOWGLOBE_API CheckViolation : IntegrityConstraintViolation {
  using IntegrityConstraintViolation::IntegrityConstraintViolation;
};
/// 23P01.
struct SNOWGLOBE_API ExclusionViolation : IntegrityConstraintViolation {
  using IntegrityConstraintViolation::IntegrityConstraintViolation;
};
/// 25006.
struct SNOWGLOBE_API ReadOnlyTransaction : InvalidTransactionState {
  using InvalidTransactionState::InvalidTransactionState;
};
/// 25P02.
struct SNOWGLOBE_API InFailedTransaction : InvalidTransactionState {
  using InvalidTransactionState::InvalidTransactionState;
};
/// 28P01.
struct SNOWGLOBE_API InvalidPassword : InvalidAuthorizationSpecification {
  using InvalidAuthorizationSpecification::InvalidAuthorizationSpecification;
};
/// 40001.
struct SNOWGLOBE_API SerializationFailure : TransactionRollback {
  using TransactionRollback::TransactionRollback;
};
/// 40P01.
struct SNOWGLOBE_API DeadlockDetected : TransactionRollback {
  using TransactionRollback::TransactionRollback;
};
/// 42501.
struct SNOWGLOBE_API InsufficientPrivilege : SyntaxErrorOrAccessRuleViolation {
  using SyntaxErrorOrAccessRuleViolation::SyntaxErrorOrAccessRuleViolation;
};
/// 42601.
struct SNOWGLOBE_API SyntaxError : SyntaxErrorOrAccessRuleViolation {
  using SyntaxErrorOrAccessRuleViolation::SyntaxErrorOrAccessRuleViolation;
};
/// 42701.
struct SNOWGLOBE_API DuplicateColumn : SyntaxErrorOrAccessRuleViolation {
  using SyntaxErrorOrAccessRuleViolation::SyntaxErrorOrAccessRuleViolation;
};
/// 42703.
struct SNOWGLOBE_API UndefinedColumn : SyntaxErrorOrAccessRuleViolation {
  using SyntaxErrorOrAccessRuleViolation::SyntaxErrorOrAccessRuleViolation;
};
/// 42704.
struct SNOWGLOBE_API UndefinedObject : SyntaxErrorOrAccessRuleViolation {
  using SyntaxErrorOrAccessRuleViolation::SyntaxErrorOrAccessRuleViolation;
};
/// 42710.
struct SNOWGLOBE_API DuplicateObject : SyntaxErrorOrAccessRuleViolation {
  using SyntaxErrorOrAccessRuleViolation::SyntaxErrorOrAccessRuleViolation;
};
/// 42804.
struct SNOWGLOBE_API DatatypeMismatch : SyntaxErrorOrAccessRuleViolation {
  using SyntaxErrorOrAccessRuleViolation::SyntaxErrorOrAccessRuleViolation;
};
/// 42883.
struct SNOWGLOBE_API UndefinedFunction : SyntaxErrorOrAccessRuleViolation {
  using SyntaxErrorOrAccessRuleViolation::SyntaxErrorOrAccessRuleViolation;
};
/// 42P01.
struct SNOWGLOBE_API UndefinedTable : SyntaxErrorOrAccessRuleViolation {
  using SyntaxErrorOrAccessRuleViolation::SyntaxErrorOrAccessRuleViolation;
};
/// 42P06.
struct SNOWGLOBE_API DuplicateSchema : SyntaxErrorOrAccessRuleViolation {
  using SyntaxErrorOrAccessRuleViolation::SyntaxErrorOrAccessRuleViolation;
};
/// 42P07.
struct SNOWGLOBE_API DuplicateTable : SyntaxErrorOrAccessRuleViolation {
  using SyntaxErrorOrAccessRuleViolation::SyntaxErrorOrAccessRuleViolation;
};
/// 53100.
struct SNOWGLOBE_API DiskFull : InsufficientResources {
  using InsufficientResources::InsufficientResources;
};
/// 53200.
struct SNOWGLOBE_API OutOfMemory : InsufficientResources {
  using InsufficientResources::InsufficientResources;
};
/// 53300.
struct SNOWGLOBE_API TooManyConnections : InsufficientResources {
  using InsufficientResources::InsufficientResources;
};
/// 55006.
struct SNOWGLOBE_API ObjectInUse : ObjectNotInPrerequisiteState {
  using ObjectNotInPrerequisiteState::ObjectNotInPrerequisiteState;
};
/// 55P03.
struct SNOWGLOBE_API LockNotAvailable : ObjectNotInPrerequisiteState {
  using ObjectNotInPrerequisiteState::ObjectNotInPrerequisiteState;
};
/// 57014.
struct SNOWGLOBE_API QueryCanceled : OperatorIntervention {
  using OperatorIntervention::OperatorIntervention;
};
/// P0001.
struct SNOWGLOBE_API RaiseException : PlpgsqlError {
  using PlpgsqlError::PlpgsqlError;
};
/// P0002.
struct SNOWGLOBE_API NoDataFound : PlpgsqlError {
  using PlpgsqlError::PlpgsqlError;
};
/// P0004.
struct SNOWGLOBE_API AssertFailure : PlpgsqlError {
  using PlpgsqlError::PlpgsqlError;
};

}  // namespace v1
}  // namespace snowglobe
