// snapshots/schema.cc - migrations: entry n leads from version n to n + 1, in one transaction.
#include "snapshots/schema.h"

#include <fmt/format.h>
#include <iterator>

namespace snowglobe::snapshots {

namespace {

// `seal` is a hash of the other columns of its row. Integers that stand for nothing else: number.
constexpr const char* kVersion1 = R"sql(
CREATE TABLE snapshots(
  number INTEGER PRIMARY KEY AUTOINCREMENT,  -- parents have smaller ones
  id BLOB NOT NULL UNIQUE,                   -- 16 bytes
  parent INTEGER REFERENCES snapshots(number),
  name TEXT UNIQUE,
  tags TEXT NOT NULL,                        -- one a line
  note TEXT NOT NULL,
  created_ns INTEGER NOT NULL,               -- since 1970-01-01 UTC
  memory_bytes INTEGER NOT NULL,
  image_id TEXT NOT NULL,
  format_version INTEGER NOT NULL,
  postgres_version TEXT NOT NULL,
  wal_position TEXT NOT NULL,
  properties BLOB NOT NULL,                  -- key, value, ... each with a 32-bit length
  raw_bytes INTEGER NOT NULL,
  stored_bytes INTEGER NOT NULL,
  new_bytes INTEGER NOT NULL,
  root BLOB NOT NULL,                        -- SHA-256 over objects and hashes of chunks
  base INTEGER REFERENCES snapshots(number), -- the list says what is other than there
  list BLOB NOT NULL,                        -- snapshots/chunk_list.cc
  seal BLOB NOT NULL);
CREATE TABLE packs(
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id BLOB NOT NULL,                          -- 16 bytes, the name of the file
  bytes INTEGER NOT NULL,
  seal BLOB NOT NULL);
CREATE TABLE chunks(
  id INTEGER PRIMARY KEY,
  hash BLOB NOT NULL,                        -- SHA-256
  pack INTEGER NOT NULL,
  place INTEGER NOT NULL,                    -- of the record in the pack
  stored_bytes INTEGER NOT NULL,
  raw_bytes INTEGER NOT NULL,
  seal INTEGER NOT NULL);
CREATE INDEX chunks_by_hash ON chunks(substr(hash, 1, 8));
CREATE TABLE digests(                        -- hash of all seals of a table: a row that is lost is missed
  name TEXT PRIMARY KEY,
  hash BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE counters(
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counters VALUES('sweeps', 0);
)sql";

constexpr const char* kMigrations[] = {kVersion1};
constexpr std::uint64_t kVersion = std::size(kMigrations);

base::Result<void> migrate(Database& database, std::uint64_t from) {
  if (auto begun = database.run("BEGIN IMMEDIATE"); !begun.ok()) return begun;
  std::string script;
  for (std::uint64_t version = from; version < kVersion; ++version)
    script += kMigrations[version];
  script += fmt::format("PRAGMA application_id={}; PRAGMA user_version={}; COMMIT", kApplicationId,
                        kVersion);
  auto done = database.run(script.c_str());
  if (!done.ok() && database.in_transaction()) static_cast<void>(database.run("ROLLBACK"));
  return done;
}

}  // namespace

base::Result<CatalogueState> look_at_catalogue(Database& database) {
  const auto application = database.number("PRAGMA application_id");
  if (!application.ok()) return application.error();
  const auto version = database.number("PRAGMA user_version");
  if (!version.ok()) return version.error();
  if (application.value() == 0 && version.value() == 0) {
    const auto tables = database.number("SELECT count(*) FROM sqlite_schema");
    if (!tables.ok()) return tables.error();
    if (tables.value() == 0) return CatalogueState::kNew;
  }
  if (application.value() != kApplicationId || version.value() == 0) {
    return base::Error{base::ErrorCode::kCorrupt,
                       "the store's catalogue is damaged: it does not say that it is one"};
  }
  if (version.value() > kVersion) {
    return base::Error{
        base::ErrorCode::kUnsupported,
        fmt::format("the store's catalogue has version {}, this library knows up to {}: use a "
                    "newer library",
                    version.value(), kVersion)};
  }
  if (version.value() < kVersion) {
    if (auto done = migrate(database, version.value()); !done.ok()) return done.error();
  }
  return CatalogueState::kReady;
}

base::Result<void> make_catalogue(Database& database) {
  if (auto mode = database.number("PRAGMA journal_mode=WAL"); !mode.ok()) return mode.error();
  return migrate(database, 0);
}

}  // namespace snowglobe::snapshots
