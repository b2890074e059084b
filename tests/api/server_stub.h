// tests/api/server_stub.h - a Server without a machine: a port on the loopback address, and nothing
// else.
#pragma once

#include "api/src/server.h"

#include <cstdint>
#include <string>
#include <vector>

namespace snowglobe::testing {

class ServerStub : public detail::Server {
 public:
  explicit ServerStub(std::uint16_t port) : port_(port) {}

  [[nodiscard]] detail::ServerAddress address() const override {
    return {"127.0.0.1", std::to_string(port_)};
  }
  void check(std::chrono::milliseconds) override {}
  void log(const LogLine&) override {}
  void close() noexcept override {}
  [[nodiscard]] bool is_open() const noexcept override { return true; }
  [[nodiscard]] Info info() const override { return {}; }
  [[nodiscard]] Stats stats() const override { return {}; }
  [[nodiscard]] std::vector<std::string> console() const override { return {}; }
  ExecResult exec(const std::vector<std::string>&, const ExecOptions&) override { return {}; }
  void put(std::string_view, std::string_view, unsigned) override {}
  std::string get(std::string_view) override { return {}; }
  std::uint16_t listen(const std::string&, std::uint16_t) override { return 0; }
  void unlisten(const std::string&, std::uint16_t) override {}
  bool cancel_statement(int, std::chrono::milliseconds) noexcept override { return false; }
  std::shared_ptr<const detail::MachinePicture> capture() override { return nullptr; }
  void restore(const std::shared_ptr<const detail::MachinePicture>&) override {}
  std::shared_ptr<Server> fork(const std::shared_ptr<const detail::MachinePicture>&,
                               const Options&) override {
    return nullptr;
  }
  void set_disk_limit(unsigned) override {}
  void quiesce() override {}

 private:
  std::uint16_t port_;
};

}  // namespace snowglobe::testing
