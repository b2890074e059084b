// bench/ground.h - a database of the suite `snapshots` with a state to come back to.
#pragma once

#include "bench/bench.h"
#include <optional>
#include <string>

namespace bench {

/// What every open of the suite has: nothing but the image and who runs it, so that the ready state
/// fits.
snowglobe::Options plain_options(const Bench& bench);

/// A database with an empty table `t` and a session that is used again and again.
class Ground {
 public:
  explicit Ground(const Bench& bench);

  snowglobe::Database& database() { return database_; }
  [[nodiscard]] const snowglobe::Snapshot& empty() const { return *empty_; }

  /// On the session, in one statement.
  void write_small(int rows);
  void write_large(int rows);  ///< of a KB each
  /// A query; throws std::runtime_error unless the table has so many.
  void expect_rows(int rows);
  /// A save, and what it had to copy because it is dirty.
  struct Saved {
    snowglobe::Snapshot snapshot;
    double ms = 0;
    double megabytes = 0;
  };
  Saved save();
  /// Goes back, and nothing is dirty.
  void clean();
  /// How many rows for write_large() make so much dirty; measured.
  int large_rows_for(double megabytes);

 private:
  double dirty_by_large(int rows);

  snowglobe::Database database_;
  snowglobe::Session session_;
  std::optional<snowglobe::Snapshot> empty_;
};

/// The median, or with Plan::best the best.
double typical(const Bench& bench, const Samples& samples);

/// A row of our side alone.
Row own_row(const std::string& name, const std::string& unit, double figure,
            std::optional<double> bound = std::nullopt, const std::string& remark = {});

}  // namespace bench
