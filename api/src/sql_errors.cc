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
    {"22012", throw_as<DivisionByZero>},
    {"22P02", throw_as<InvalidTextRepresentation>},
    {"23502", throw_as<NotNullViolation>},
    {"23503", throw_as<ForeignKeyViolation>},
    {"23505", throw_as<UniqueViolation>},
    {"23514", throw_as<CheckViolation>},
    {"23P01", throw_as<ExclusionViolation>},
    {"25006", throw_as<ReadOnlyTransaction>},
    {"25P02", throw_as<InFailedTransaction>},
    {"40001", throw_as<SerializationFailure>},
    {"40P01", throw_as<DeadlockDetected>},
    {"42501", throw_as<InsufficientPrivilege>},
    {"42601", throw_as<SyntaxError>},
    {"42703", throw_as<UndefinedColumn>},
    {"42883", throw_as<UndefinedFunction>},
    {"42P01", throw_as<UndefinedTable>},
    {"42P07", throw_as<DuplicateTable>},
    {"53100", throw_as<DiskFull>},
    {"53200", throw_as<OutOfMemory>},
    {"53300", throw_as<TooManyConnections>},
    {"55P03", throw_as<LockNotAvailable>},
    {"57014", throw_as<QueryCanceled>},
    {"P0001", throw_as<RaiseException>},
    {"0A", throw_as<FeatureNotSupported>},
    {"22", throw_as<DataException>},
    {"23", throw_as<IntegrityConstraintViolation>},
    {"25", throw_as<InvalidTransactionState>},
    {"40", throw_as<TransactionRollback>},
    {"42", throw_as<SyntaxErrorOrAccessRuleViolation>},
    {"53", throw_as<InsufficientResources>},
    {"55", throw_as<ObjectNotInPrerequisiteState>},
    {"57", throw_as<OperatorIntervention>},
    {"P0", throw_as<PlpgsqlError>},
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
