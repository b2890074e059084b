// snowglobe/care.hpp - looking after a database: what Database::check(), compact(), dump(), load()
// and backup_to() take and give.
#pragma once

#include <snowglobe/export.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace snowglobe {
inline namespace v1 {

struct DumpOptions {
  std::string database = "postgres";
  /// More words for pg_dump, e.g. {"--schema=shop"}.
  std::vector<std::string> arguments = {};
  bool overwrite = false;
  std::chrono::milliseconds limit = std::chrono::hours(1);
};

struct LoadOptions {
  std::string database = "postgres";
  /// Drops what is there under the same names first.
  bool clean = false;
  /// More words for pg_restore.
  std::vector<std::string> arguments = {};
  std::chrono::milliseconds limit = std::chrono::hours(1);
};

struct CheckReport {
  std::vector<std::string> problems;  ///< "database: relation: what is wrong"
  unsigned databases = 0;
  unsigned relations = 0;
  [[nodiscard]] bool clean() const noexcept { return problems.empty(); }
};

struct CompactOptions {
  /// VACUUM FULL: writes every table anew, each locked meanwhile. Without, space inside of tables
  /// is only made free for their own next rows.
  bool full = false;
  std::chrono::milliseconds limit = std::chrono::hours(1);
};

struct CompactReport {
  std::uint64_t before = 0;  ///< bytes that the disk takes on the host, or in its memory
  std::uint64_t after = 0;
};

struct BackupOptions {
  /// Of a database in a folder: the snapshots that are kept there, too.
  bool snapshots = true;
};

struct BackupResult {
  std::filesystem::path path;
  std::string id;           ///< of the copy
  std::uint64_t bytes = 0;  ///< that it takes on the host's disk
};

/// What a folder says about itself, without opening the database: Database::inspect().
struct DatabaseInfo {
  std::filesystem::path path;
  std::string id;
  unsigned format = 0;
  std::string image_id;          ///< of the guest image that ran it last
  std::string postgres_version;  ///< likewise
  std::string created;           ///< ISO 8601, UTC
  /// Id of the stored snapshot that it came from last, by save or restore; empty: from none.
  std::string origin;
  std::uint64_t capacity = 0;    ///< bytes of the disk
  std::uint64_t disk_bytes = 0;  ///< that the disk takes on the host
  std::uint64_t machine_bytes = 0;
  /// "hibernated" (the next open goes on), "clean" (it starts PostgreSQL), or "running" (somebody
  /// has it, or had it and did not close it: the next open recovers).
  std::string state;
  bool open = false;  ///< somebody has it
  int pid = 0;        ///< who, as far as it is known
  std::string program;
  std::string since;
};

}  // namespace v1
}  // namespace snowglobe
