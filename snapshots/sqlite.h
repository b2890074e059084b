// snapshots/sqlite.h - the part of SQLite that the catalogue uses, with our errors.
// A Database and its Statements belong to one thread at a time.
#pragma once

#include "base/bytes.h"
#include "base/error.h"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace snowglobe::snapshots {

/// A prepared statement: bind from 1 on, step(), read columns from 0 on, reset().
class Statement {
 public:
  void bind(int index, std::uint64_t value);
  void bind(int index, std::string_view text);
  void bind(int index, base::ConstBytes blob);
  void bind_null(int index);

  /// True: a row is there. After false or an error the statement is reset.
  base::Result<bool> step();
  void reset();

  [[nodiscard]] std::uint64_t number(int column) const;
  /// Valid until the next step().
  [[nodiscard]] base::ConstBytes blob(int column) const;
  [[nodiscard]] std::string text(int column) const;
  [[nodiscard]] bool is_null(int column) const;
  void abandon();  ///< see Database::abandon()

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}

  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

class Database {
 public:
  /// The file must be there. `vfs` may be null.
  static base::Result<Database> open(const std::filesystem::path& file, const char* vfs,
                                     std::chrono::milliseconds wait_limit);
  /// One in memory with the contents of such a file, which nobody can change.
  static base::Result<Database> open_image(base::ConstBytes file);
  Database(Database&&) noexcept;
  ~Database();

  /// Statements without parameters and results.
  base::Result<void> run(const char* sql);
  base::Result<Statement> prepare(const char* sql);
  base::Result<std::uint64_t> number(const char* sql);  ///< first column of the first row
  [[nodiscard]] std::uint64_t last_row() const;
  [[nodiscard]] bool in_transaction() const;
  /// Lets go without closing: after fork(), closing would tamper with the parent's files.
  void abandon();

 private:
  explicit Database(sqlite3* database) : database_(database) {}
  static base::Result<Database> open_handle(const char* file, const char* vfs);

  sqlite3* database_;
};

}  // namespace snowglobe::snapshots
