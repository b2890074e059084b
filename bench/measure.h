// bench/measure.h - the same libpq client for every server, a stopwatch, and the statistics of what
// it measures.
#pragma once

#include <chrono>
#include <functional>
#include <libpq-fe.h>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace bench {

using Seconds = std::chrono::duration<double>;

/// A plain libpq connection. Throws std::runtime_error with the server's message.
class Client {
 public:
  explicit Client(const std::string& conninfo);
  /// Runs statements and returns the first field of the last result (empty if there is none).
  std::string run(const std::string& sql);
  /// The first two columns of all rows.
  std::vector<std::pair<std::string, std::string>> pairs(const std::string& sql);
  /// COPY ... FROM STDIN of a text.
  void copy_in(const std::string& sql, std::string_view text);

 private:
  using Result = std::unique_ptr<PGresult, void (*)(PGresult*)>;
  [[nodiscard]] Result checked(PGresult* result, const std::string& sql) const;
  [[noreturn]] void fail(const std::string& what) const;

  std::unique_ptr<PGconn, void (*)(PGconn*)> connection_;
};

/// How long `work` takes.
Seconds time(const std::function<void()>& work);
double milliseconds(const std::function<void()>& work);
double microseconds(const std::function<void()>& work);

/// Figures of one kind in the order in which they were measured.
class Samples {
 public:
  void add(double figure) { figures_.push_back(figure); }
  [[nodiscard]] bool empty() const { return figures_.empty(); }
  [[nodiscard]] std::size_t count() const { return figures_.size(); }
  [[nodiscard]] double first() const { return figures_.front(); }
  /// `share` in [0, 1]; at least one must be there.
  [[nodiscard]] double percentile(double share) const;
  [[nodiscard]] double median() const { return percentile(0.5); }

 private:
  std::vector<double> figures_;
};

}  // namespace bench
