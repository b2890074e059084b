// snowglobe/diff.hpp - what changed between two snapshots, row by row.
//
//   for (const TableDiff& table : diff_rows(before, after))
//     std::cout << table.name() << ": +" << table.inserted << " -" << table.deleted << "\n";
#pragma once

#include <snowglobe/export.hpp>
#include <snowglobe/options.hpp>
#include <snowglobe/snapshot.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace snowglobe {
inline namespace v1 {

/// A table whose rows are not the same in two snapshots.
struct TableDiff {
  enum class Kind : std::uint8_t { changed, created, dropped };

  std::string database;
  std::string schema;
  std::string table;
  Kind kind = Kind::changed;
  std::uint64_t inserted = 0;
  /// With the same primary key and other contents. A table without a primary key, or with another
  /// one than before, has none: such rows count as deleted and inserted.
  std::uint64_t updated = 0;
  std::uint64_t deleted = 0;

  /// "database.schema.table", as it is read by people: nothing is quoted.
  [[nodiscard]] std::string name() const { return database + "." + schema + "." + table; }
};

/// Compares the rows of all tables and materialized views of all databases, but for temporary and
/// foreign tables. Starts a machine from each snapshot for that (both end with the call) and reads
/// every table once, in order of its key: the time goes with the size of the data, the host's
/// memory does not. Rows are compared by a hash of 64 bits. Sorted by name(). `options`: image,
/// executor and limits of the two machines. Throws as Database::open_in_memory(), and SqlError.
[[nodiscard]] SNOWGLOBE_API std::vector<TableDiff> diff_rows(const Snapshot& from,
                                                             const Snapshot& to,
                                                             const Options& options = {});

}  // namespace v1
}  // namespace snowglobe
