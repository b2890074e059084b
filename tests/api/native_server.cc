// tests/api/native_server.cc - the benchmark's native server behind the face.
#include "tests/api/native_server.h"

#include "api/src/database_state.h"
#include "tests/api/server_stub.h"

#include "bench/native_server.h"
#include <atomic>
#include <functional>
#include <memory>
#include <stdexcept>

namespace snowglobe::testing {
namespace {

class NativeServer final : public ServerStub {
 public:
  NativeServer(std::uint16_t port, std::function<void(const LogLine&)> log)
      : ServerStub(port), log_(std::move(log)) {}

  void check(std::chrono::milliseconds) override {
    if (!open_) throw ConnectionLost("the database is closed");
  }
  void log(const LogLine& line) override {
    if (log_) log_(line);
  }
  void close() noexcept override { open_ = false; }
  [[nodiscard]] bool is_open() const noexcept override { return open_; }

 private:
  std::function<void(const LogLine&)> log_;
  std::atomic<bool> open_ = true;
};

}  // namespace

std::optional<Database> open_native(const Options& options) {
  static std::string why;
  static const std::unique_ptr<bench::NativeServer> kServer = bench::NativeServer::host(why);
  if (kServer == nullptr && why == "no PostgreSQL server is installed") return std::nullopt;
  if (kServer == nullptr) throw std::runtime_error("the host's PostgreSQL does not start: " + why);
  return Database(std::make_shared<detail::DatabaseState>(
      std::make_shared<NativeServer>(kServer->port(), options.on_log), options));
}

void NativeTest::SetUp() {
  Options options;
  options.statement_limit = std::chrono::seconds(20);
  auto opened = open_native(options);
  if (!opened) GTEST_SKIP() << "no PostgreSQL server is installed on this host";
  db_.emplace(std::move(*opened));
  db_->script(schema());
}

}  // namespace snowglobe::testing
