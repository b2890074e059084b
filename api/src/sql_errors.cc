// api/src/sql_errors.cc - throws the exception class that belongs to an SQLSTATE.
#include "api/src/errors.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace snowglobe::detail {
namespace {

using Thrower = void (*)(SqlDiagnostics&&);

template <class T>
[[noreturn]] void throw_as(SqlDiagnostics&& diagnostics) {
  throw T(std::move(diagnostics));
}

struct Entry {
  std::string_view sqlstate;  // five characters, or the two of a class
  Thrower thrower;
};

// PostgreSQL's documentation, Appendix A. The exact code wins over its class.
constexpr Entry kEntries[] = {
    {"22001", throw_as<StringDataRightTruncation>},
    {"22003", throw_as<NumericValueOutOfRange>},
    {"22007", throw_as<InvalidDatetimeFormat>},
    {"22008", throw_as<DatetimeFieldOverflow>},
    {"22012", throw_as<DivisionByZero>},
    {"22P02", throw_as<InvalidTextRepresentation>},
    {"23502", throw_as<NotNullViolation>},
    {"23503", throw_as<ForeignKeyViolation>},
    {"23505", throw_as<UniqueViolation>},
    {"23514", throw_as<CheckViolation>},
    {"23P01", throw_as<ExclusionViolation>},
    {"25006", throw_as<ReadOnlyTransaction>},
    {"25P02", throw_as<InFailedTransaction>},
    {"28P01", throw_as<InvalidPassword>},
    {"40001", throw_as<SerializationFailure>},
    {"40P01", throw_as<DeadlockDetected>},
    {"42501", throw_as<InsufficientPrivilege>},
    {"42601", throw_as<SyntaxError>},
    {"42701", throw_as<DuplicateColumn>},
    {"42703", throw_as<UndefinedColumn>},
    {"42704", throw_as<UndefinedObject>},
    {"42710", throw_as<DuplicateObject>},
    {"42804", throw_as<DatatypeMismatch>},
    {"42883", throw_as<UndefinedFunction>},
    {"42P01", throw_as<UndefinedTable>},
    {"42P06", throw_as<DuplicateSchema>},
    {"42P07", throw_as<DuplicateTable>},
    {"53100", throw_as<DiskFull>},
    {"53200", throw_as<OutOfMemory>},
    {"53300", throw_as<TooManyConnections>},
    {"55006", throw_as<ObjectInUse>},
    {"55P03", throw_as<LockNotAvailable>},
    {"57014", throw_as<QueryCanceled>},
    {"P0001", throw_as<RaiseException>},
    {"P0002", throw_as<NoDataFound>},
    {"P0004", throw_as<AssertFailure>},
    {"03", throw_as<SqlStatementNotYetComplete>},
    {"08", throw_as<ConnectionException>},
    {"09", throw_as<TriggeredActionException>},
    {"0A", throw_as<FeatureNotSupported>},
    {"0B", throw_as<InvalidTransactionInitiation>},
    {"0F", throw_as<LocatorException>},
    {"0L", throw_as<InvalidGrantor>},
    {"0P", throw_as<InvalidRoleSpecification>},
    {"0Z", throw_as<DiagnosticsException>},
    {"20", throw_as<CaseNotFound>},
    {"21", throw_as<CardinalityViolation>},
    {"22", throw_as<DataException>},
    {"23", throw_as<IntegrityConstraintViolation>},
    {"24", throw_as<InvalidCursorState>},
    {"25", throw_as<InvalidTransactionState>},
    {"26", throw_as<InvalidSqlStatementName>},
    {"27", throw_as<TriggeredDataChangeViolation>},
    {"28", throw_as<InvalidAuthorizationSpecification>},
    {"2B", throw_as<DependentPrivilegeDescriptorsStillExist>},
    {"2D", throw_as<InvalidTransactionTermination>},
    {"2F", throw_as<SqlRoutineException>},
    {"34", throw_as<InvalidCursorName>},
    {"38", throw_as<ExternalRoutineException>},
    {"39", throw_as<ExternalRoutineInvocationException>},
    {"3B", throw_as<SavepointException>},
    {"3D", throw_as<InvalidCatalogName>},
    {"3F", throw_as<InvalidSchemaName>},
    {"40", throw_as<TransactionRollback>},
    {"42", throw_as<SyntaxErrorOrAccessRuleViolation>},
    {"44", throw_as<WithCheckOptionViolation>},
    {"53", throw_as<InsufficientResources>},
    {"54", throw_as<ProgramLimitExceeded>},
    {"55", throw_as<ObjectNotInPrerequisiteState>},
    {"57", throw_as<OperatorIntervention>},
    {"58", throw_as<SystemError>},
    {"F0", throw_as<ConfigFileError>},
    {"HV", throw_as<FdwError>},
    {"P0", throw_as<PlpgsqlError>},
    {"XX", throw_as<InternalError>},
};

}  // namespace

void throw_sql_error(SqlDiagnostics diagnostics) {
  const std::string_view state = diagnostics.sqlstate;
  const Entry* found = std::find_if(std::begin(kEntries), std::end(kEntries), [&](const Entry& e) {
    return e.sqlstate == state || e.sqlstate == state.substr(0, 2);
  });
  if (found != std::end(kEntries)) found->thrower(SqlDiagnostics(diagnostics));
  throw SqlError(std::move(diagnostics));
}

}  // namespace snowglobe::detail
