// api/src/result_data.h - what a Result points at: libpq's result, owned, with its columns read
// once.
#pragma once

#include <snowglobe/result.hpp>

#include <libpq-fe.h>
#include <memory>
#include <vector>

namespace snowglobe::detail {

struct PqClear {
  void operator()(PGresult* result) const noexcept { PQclear(result); }
};
using PqResult = std::unique_ptr<PGresult, PqClear>;

/// Never changes: any number of threads may read.
class ResultData {
 public:
  explicit ResultData(PqResult result);

  [[nodiscard]] const PGresult* get() const { return result_.get(); }
  [[nodiscard]] std::size_t rows() const { return rows_; }
  [[nodiscard]] const std::vector<Column>& columns() const { return columns_; }

 private:
  PqResult result_;
  std::size_t rows_;
  std::vector<Column> columns_;
};

}  // namespace snowglobe::detail
