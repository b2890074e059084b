// snapshots/sqlite.cc - SQLite with our errors. What SQLite calls an error in a statement can only
// be a damaged catalogue: our statements are right.
#include "snapshots/sqlite.h"

#include <algorithm>
#include <fmt/format.h>
#include <sqlite3.h>
#include <utility>

namespace snowglobe::snapshots {

namespace {

// No row of ours comes near; a damaged length must not make SQLite reserve a gigabyte.
constexpr int kMaxValueBytes = 64 << 20;

base::ErrorCode code_of(int result) {
  switch (result & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
      return base::ErrorCode::kUnavailable;
    case SQLITE_FULL:
    case SQLITE_NOMEM:
      return base::ErrorCode::kResourceExhausted;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return base::ErrorCode::kIo;
    case SQLITE_MISUSE:
      return base::ErrorCode::kInternal;
    default:
      return base::ErrorCode::kCorrupt;
  }
}

base::Error error_of(sqlite3* database, int result) {
  const base::ErrorCode code = code_of(result);
  const char* const text = database != nullptr ? sqlite3_errmsg(database) : sqlite3_errstr(result);
  if (code == base::ErrorCode::kUnavailable) {
    return {code, "the store's catalogue is locked by another process: try again later"};
  }
  const char* const what = code == base::ErrorCode::kCorrupt ? "is damaged" : "can not be used";
  return {code, fmt::format("the store's catalogue {}: {}", what, text)};
}

}  // namespace

void Statement::Finalize::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

// Binding fails for lack of memory only, and then the step that follows says so.
void Statement::bind(int index, std::uint64_t value) {
  sqlite3_bind_int64(statement_.get(), index, static_cast<sqlite3_int64>(value));
}

void Statement::bind(int index, std::string_view text) {
  sqlite3_bind_text64(statement_.get(), index, text.data(), text.size(), SQLITE_TRANSIENT,
                      SQLITE_UTF8);
}

void Statement::bind(int index, base::ConstBytes blob) {
  static const std::uint8_t kNothing = 0;  // a null pointer would be NULL, not an empty blob
  const void* const data = blob.empty() ? &kNothing : blob.data();
  sqlite3_bind_blob64(statement_.get(), index, data, blob.size(), SQLITE_TRANSIENT);
}

void Statement::bind_null(int index) {
  sqlite3_bind_null(statement_.get(), index);
}

base::Result<bool> Statement::step() {
  const int result = sqlite3_step(statement_.get());
  if (result == SQLITE_ROW) return true;
  if (result == SQLITE_DONE) {
    sqlite3_reset(statement_.get());
    return false;
  }
  const base::Error error = error_of(sqlite3_db_handle(statement_.get()), result);
  sqlite3_reset(statement_.get());
  return error;
}

void Statement::reset() {
  sqlite3_reset(statement_.get());
}

std::uint64_t Statement::number(int column) const {
  return static_cast<std::uint64_t>(sqlite3_column_int64(statement_.get(), column));
}

base::ConstBytes Statement::blob(int column) const {
  const void* const data = sqlite3_column_blob(statement_.get(), column);
  const int length = sqlite3_column_bytes(statement_.get(), column);
  if (data == nullptr) return {};
  return {static_cast<const std::uint8_t*>(data), static_cast<std::size_t>(length)};
}

std::string Statement::text(int column) const {
  const base::ConstBytes bytes = blob(column);
  return {bytes.begin(), bytes.end()};
}

bool Statement::is_null(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}

void Statement::abandon() {
  static_cast<void>(statement_.release());
}

base::Result<Database> Database::open_handle(const char* file, const char* vfs) {
  sqlite3* handle = nullptr;
  constexpr int kFlags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
  const int result = sqlite3_open_v2(file, &handle, kFlags, vfs);
  Database database(handle);
  if (result != SQLITE_OK) return error_of(handle, result);
  sqlite3_extended_result_codes(handle, 1);
  sqlite3_limit(handle, SQLITE_LIMIT_LENGTH, kMaxValueBytes);
  sqlite3_db_config(handle, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  // mmap_size 0: a file that somebody cuts off is an error then, not a SIGBUS.
  auto set = database.run("PRAGMA mmap_size=0; PRAGMA cell_size_check=1; PRAGMA foreign_keys=1");
  if (!set.ok()) return set.error();
  return database;
}

base::Result<Database> Database::open(const std::filesystem::path& file, const char* vfs,
                                      std::chrono::milliseconds wait_limit) {
  auto database = open_handle(file.c_str(), vfs);
  if (database.ok()) {
    sqlite3_busy_timeout(database.value().database_, static_cast<int>(wait_limit.count()));
  }
  return database;
}

base::Result<Database> Database::open_image(base::ConstBytes file) {
  // Bytes 18 and 19: by which kind of journal it is written and read (1: rollback, 2: WAL, which
  // there is none of in memory; SQLite's file format, 1.3.3).
  constexpr std::size_t kWriteVersion = 18, kReadVersion = 19;
  // By its name: with SQLITE_OPEN_MEMORY, VACUUM INTO would put its copy into memory as well.
  auto database = open_handle(":memory:", nullptr);
  if (!database.ok()) return database.error();
  auto* const bytes = static_cast<std::uint8_t*>(sqlite3_malloc64(file.size() + 1));
  if (bytes == nullptr) return error_of(nullptr, SQLITE_NOMEM);
  std::copy(file.begin(), file.end(), bytes);
  if (file.size() > kReadVersion) bytes[kWriteVersion] = bytes[kReadVersion] = 1;
  const auto size = static_cast<sqlite3_int64>(file.size());
  sqlite3* const handle = database.value().database_;
  const int result =
      sqlite3_deserialize(handle, "main", bytes, size, size,
                          SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_READONLY);
  if (result != SQLITE_OK) return error_of(handle, result);
  return database;
}

Database::Database(Database&& other) noexcept
    : database_(std::exchange(other.database_, nullptr)) {}

Database::~Database() {
  if (database_ != nullptr) sqlite3_close_v2(database_);
}

base::Result<void> Database::run(const char* sql) {
  const int result = sqlite3_exec(database_, sql, nullptr, nullptr, nullptr);
  if (result != SQLITE_OK) return error_of(database_, result);
  return {};
}

base::Result<Statement> Database::prepare(const char* sql) {
  sqlite3_stmt* statement = nullptr;
  const int result =
      sqlite3_prepare_v3(database_, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (result != SQLITE_OK) return error_of(database_, result);
  return Statement(statement);
}

base::Result<std::uint64_t> Database::number(const char* sql) {
  auto statement = prepare(sql);
  if (!statement.ok()) return statement.error();
  auto row = statement.value().step();
  if (!row.ok()) return row.error();
  return row.value() ? statement.value().number(0) : 0;
}

std::uint64_t Database::last_row() const {
  return static_cast<std::uint64_t>(sqlite3_last_insert_rowid(database_));
}

bool Database::in_transaction() const {
  return sqlite3_get_autocommit(database_) == 0;
}

void Database::abandon() {
  database_ = nullptr;
}

}  // namespace snowglobe::snapshots
