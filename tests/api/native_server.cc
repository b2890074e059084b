// tests/api/native_server.cc - the benchmark's native server behind the face.
#include "tests/api/native_server.h"

#include "api/src/database_state.h"
#include "api/src/server.h"

#include "bench/native_server.h"
#include <atomic>
#include <functional>
#include <memory>
#include <string>

namespace snowglobe::testing {
namespace {

/// The part of Server that does not need a machine.
class NativeServer final : public detail::Server {
 public:
  NativeServer(std::uint16_t port, std::function<void(const LogLine&)> log)
      : port_(port), log_(std::move(log)) {}

  [[nodiscard]] detail::ServerAddress address() const override {
    return {"127.0.0.1", std::to_string(port_)};
  }
  void check(std::chrono::milliseconds) override {
    if (!open_) throw ConnectionLost("the database is closed");
  }
  void log(const LogLine& line) override {
    if (log_) log_(line);
  }
  void close() noexcept override { open_ = false; }
  [[nodiscard]] bool is_open() const noexcept override { return open_; }
  [[nodiscard]] Info info() const override { return {}; }
  [[nodiscard]] Stats stats() const override { return {}; }
  [[nodiscard]] std::vector<std::string> console() const override { return {}; }
  ExecResult exec(const std::vector<std::string>&, const ExecOptions&) override { return {}; }
  void put(std::string_view, std::string_view, unsigned) override {}
  std::string get(std::string_view) override { return {}; }
  std::uint16_t listen(const std::string&, std::uint16_t) override { return 0; }
  void unlisten(const std::string&, std::uint16_t) override {}

 private:
  std::uint16_t port_;
  std::function<void(const LogLine&)> log_;
  std::atomic<bool> open_ = true;
};

}  // namespace

std::optional<Database> open_native(const Options& options) {
  static std::string why;
  static const std::unique_ptr<bench::NativeServer> kServer = bench::NativeServer::host(why);
  if (kServer == nullptr) return std::nullopt;
  return Database(std::make_shared<detail::DatabaseState>(
      std::make_shared<NativeServer>(kServer->port(), options.on_log), options));
}

}  // namespace snowglobe::testing
