// bench/measure.h - the same libpq client for every server, and the statistics of its timings.
#pragma once

#include <chrono>
#include <functional>
#include <libpq-fe.h>
#include <memory>
#include <string>
#include <vector>

namespace bench {

using Seconds = std::chrono::duration<double>;

/// A plain libpq connection. Throws std::runtime_error with the server's message.
class Client {
 public:
  explicit Client(const std::string& conninfo);
  /// Runs statements and returns the first field of the last result (empty if there is none).
  std::string run(const std::string& sql);

 private:
  std::unique_ptr<PGconn, void (*)(PGconn*)> connection_;
};

/// How long `work` takes.
Seconds time(const std::function<void()>& work);

/// Times in ascending order.
class Timings {
 public:
  void add(Seconds duration);
  /// `share` in [0, 1]; at least one timing must be there.
  [[nodiscard]] Seconds percentile(double share) const;
  [[nodiscard]] Seconds median() const { return percentile(0.5); }

 private:
  std::vector<Seconds> sorted_;
};

}  // namespace bench
