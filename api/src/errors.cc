// api/src/errors.cc - the error category, the exceptions with data, and base::Error as an
// exception.
#include "api/src/errors.h"

#include <utility>

namespace snowglobe {
inline namespace v1 {
namespace {

class Category final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "snowglobe"; }
  [[nodiscard]] std::string message(int value) const override {
    switch (static_cast<Errc>(value)) {
      case Errc::invalid_argument:
        return "invalid argument";
      case Errc::conversion:
        return "value does not fit the type";
      case Errc::sql:
        return "SQL error";
      case Errc::connection_lost:
        return "connection lost";
      case Errc::timeout:
        return "time limit passed";
      case Errc::cancelled:
        return "cancelled";
      case Errc::image:
        return "guest image missing or damaged";
      case Errc::guest_crashed:
        return "guest crashed";
      case Errc::resource_exhausted:
        return "resource exhausted";
      case Errc::unsupported:
        return "unsupported";
      case Errc::io:
        return "input/output error of the host";
      case Errc::internal:
        return "internal error";
      case Errc::stale_session:
        return "session ended by a restore";
      case Errc::snapshot:
        return "snapshot cannot be used";
      case Errc::snapshot_not_found:
        return "no such snapshot";
      case Errc::snapshot_damaged:
        return "snapshot is damaged";
      case Errc::database:
        return "database cannot be opened";
      case Errc::database_not_found:
        return "no such database";
      case Errc::database_exists:
        return "database exists already";
      case Errc::database_locked:
        return "database is in use";
      case Errc::database_damaged:
        return "database is damaged";
      case Errc::database_incompatible:
        return "database is of another version";
      case Errc::database_not_ours:
        return "not a database";
      case Errc::disk_failed:
        return "the database's disk failed";
      case Errc::pipeline_aborted:
        return "an earlier statement of the pipeline failed";
      case Errc::snapshot_exists:
        return "snapshot exists already";
      case Errc::snapshot_in_use:
        return "snapshot is in use";
      case Errc::snapshot_incompatible:
        return "snapshot does not fit";
      case Errc::address:
        return "address cannot be listened on";
      case Errc::address_in_use:
        return "address is in use";
    }
    return "unknown error";
  }
};

std::string sql_error_text(const SqlDiagnostics& diagnostics) {
  std::string text = diagnostics.severity.empty() ? "ERROR" : diagnostics.severity;
  text += " " + diagnostics.sqlstate + ": " + diagnostics.message;
  if (!diagnostics.detail.empty()) text += "\nDETAIL: " + diagnostics.detail;
  if (!diagnostics.hint.empty()) text += "\nHINT: " + diagnostics.hint;
  return text;
}

std::string with_console(const std::string& message, const std::vector<std::string>& console) {
  if (console.empty()) return message;
  std::string text = message + "; its last console lines:";
  // All of them are in console(); the message shows the end, where the reason is.
  constexpr std::size_t kShown = 12;
  const std::size_t first = console.size() > kShown ? console.size() - kShown : 0;
  for (std::size_t i = first; i < console.size(); ++i)
    text += "\n  " + console[i];
  return text;
}

Errc public_code(base::ErrorCode code) {
  switch (code) {
    case base::ErrorCode::kInvalidArgument:
      return Errc::invalid_argument;
    case base::ErrorCode::kNotFound:
    case base::ErrorCode::kAlreadyExists:
    case base::ErrorCode::kIo:
      return Errc::io;
    case base::ErrorCode::kCorrupt:
      return Errc::image;
    case base::ErrorCode::kUnsupported:
      return Errc::unsupported;
    case base::ErrorCode::kResourceExhausted:
      return Errc::resource_exhausted;
    case base::ErrorCode::kUnavailable:
      return Errc::connection_lost;
    case base::ErrorCode::kTimeout:
      return Errc::timeout;
    case base::ErrorCode::kCancelled:
      return Errc::cancelled;
    case base::ErrorCode::kGuestCrashed:
      return Errc::guest_crashed;
    case base::ErrorCode::kInternal:
      return Errc::internal;
  }
  return Errc::internal;
}

}  // namespace

const std::error_category& error_category() noexcept {
  static const Category category;
  return category;
}

std::error_code make_error_code(Errc code) noexcept {
  return {static_cast<int>(code), error_category()};
}

DatabaseLocked::DatabaseLocked(const std::string& message, int pid, const std::string& program,
                               const std::string& since)
    : DatabaseError(Errc::database_locked, message),
      pid_(pid),
      who_(std::make_shared<const Who>(Who{program, since})) {}

GuestCrashed::GuestCrashed(const std::string& message, std::vector<std::string> console)
    : Error(Errc::guest_crashed, with_console(message, console)),
      console_(std::make_shared<const std::vector<std::string>>(std::move(console))) {}

SqlError::SqlError(SqlDiagnostics diagnostics)
    : Error(Errc::sql, sql_error_text(diagnostics)),
      diagnostics_(std::make_shared<const SqlDiagnostics>(std::move(diagnostics))) {}

namespace detail {

void throw_error(const base::Error& error, std::vector<std::string> console) {
  switch (const Errc code = public_code(error.code)) {
    case Errc::invalid_argument:
      throw InvalidArgument(error.message);
    case Errc::timeout:
      throw TimeoutError(error.message);
    case Errc::cancelled:
      throw Cancelled(error.message);
    case Errc::image:
      throw ImageError(error.message);
    case Errc::connection_lost:
      throw ConnectionLost(error.message);
    case Errc::guest_crashed:
      throw GuestCrashed(error.message, std::move(console));
    case Errc::conversion:
    case Errc::sql:
    case Errc::resource_exhausted:
    case Errc::unsupported:
    case Errc::io:
    case Errc::internal:
    case Errc::stale_session:
    case Errc::snapshot:
    case Errc::snapshot_not_found:
    case Errc::snapshot_damaged:
    case Errc::database:
    case Errc::database_not_found:
    case Errc::database_exists:
    case Errc::database_locked:
    case Errc::database_damaged:
    case Errc::database_incompatible:
    case Errc::database_not_ours:
    case Errc::disk_failed:
    case Errc::pipeline_aborted:
    case Errc::snapshot_exists:
    case Errc::snapshot_in_use:
    case Errc::snapshot_incompatible:
    case Errc::address:
    case Errc::address_in_use:
      throw Error(code, error.message);
  }
  throw Error(Errc::internal, error.message);
}

void throw_snapshot_error(const base::Error& error) {
  switch (error.code) {
    case base::ErrorCode::kNotFound:
      throw SnapshotNotFound(error.message);
    case base::ErrorCode::kCorrupt:
      throw SnapshotDamaged(error.message);
    case base::ErrorCode::kInvalidArgument:
      throw InvalidArgument(error.message);
    case base::ErrorCode::kResourceExhausted:
      throw Error(Errc::resource_exhausted, error.message);
    case base::ErrorCode::kIo:
      throw Error(Errc::io, error.message);
    case base::ErrorCode::kTimeout:
      throw TimeoutError(error.message);
    case base::ErrorCode::kCancelled:
      throw Cancelled(error.message);
    case base::ErrorCode::kAlreadyExists:
      throw SnapshotExists(error.message);
    case base::ErrorCode::kUnsupported:
      throw SnapshotIncompatible(error.message);
    case base::ErrorCode::kUnavailable:
      throw SnapshotInUse(error.message);
    case base::ErrorCode::kGuestCrashed:
    case base::ErrorCode::kInternal:
      break;
  }
  throw SnapshotError(error.message);
}

void throw_capture_error(const base::Error& error) {
  // Of a machine, not of a store: nobody else is in the way.
  if (error.code == base::ErrorCode::kUnavailable) throw SnapshotError(error.message);
  throw_snapshot_error(error);
}

void throw_listen_error(const base::Error& error) {
  switch (error.code) {
    case base::ErrorCode::kAlreadyExists:
      throw AddressInUse(error.message + "; choose another port, or 0 for any free one");
    case base::ErrorCode::kNotFound:
    case base::ErrorCode::kIo:
      throw AddressError(error.message);
    default:
      throw_error(error);
  }
}

}  // namespace detail
}  // namespace v1
}  // namespace snowglobe
