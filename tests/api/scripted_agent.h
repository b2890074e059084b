// tests/api/scripted_agent.h - the agent's client beside an agent that does what a test says.
#pragma once

#include "api/src/agent.h"
#include "api/src/agent_wire.h"
#include "api/src/asio_loop.h"
#include "guest/agent/protocol.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <thread>

namespace snowglobe::detail::test {

/// A machine that is nothing but its console port: what the host sends goes to a function.
class PortMachine final : public vm::Machine {
 public:
  std::function<void(std::string)> on_host_data;
  std::size_t room = 1000;  ///< bytes taken at a time, as from a guest with few buffers

  base::Result<void> start(std::function<void(vm::MachineEnd)>) override { return {}; }
  void stop() override {}
  void pause() override {}
  void resume() override {}
  base::FrameTransmitter* network() override { return nullptr; }
  std::size_t send_to_port(std::size_t, base::ConstBytes data) override {
    const std::size_t taken = std::min(room, data.size());
    on_host_data(std::string(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(taken)));
    return taken;
  }
  [[nodiscard]] bool port_open(std::size_t) const override { return true; }
  void disks_grew() override {}
  [[nodiscard]] vm::MachineStatistics statistics() const override { return {}; }
  base::Result<vm::MachineImage> capture() override { return vm::MachineImage{}; }
  base::Result<void> restore(const vm::MachineImage&) override { return {}; }
  std::shared_ptr<const vm::CodeImage> code() override { return nullptr; }
  std::shared_ptr<const vm::CodeImage> new_code() override { return nullptr; }
  void learn_from(const std::shared_ptr<const vm::CodeImage>&) override {}
};

struct Frame {
  std::uint32_t id;
  std::uint16_t type;
  std::string payload;
};

/// Client, loop with a thread, and the scripted agent.
class AgentTest : public ::testing::Test {
 protected:
  AgentTest() {
    AgentEvents events;
    const auto note = [this](const std::string& text) { heard_ += text + ";"; };
    events.hello = [note](const std::string& version) { note("hello " + version); };
    events.progress = note;
    events.postgres_ready = [note] { note("ready"); };
    events.postgres_exited = [note](int status) { note("exited " + std::to_string(status)); };
    events.boot_failed = [note](const std::string& why) { note("failed " + why); };
    events.log = [note](bool postgres, const std::string& line) {
      note((postgres ? "P" : "A") + line);
    };
    client_ = std::make_unique<AgentClient>(loop_.context(), std::move(events));
    machine_.on_host_data = [this](const std::string& data) { take(data); };
    client_->attach(machine_, 0);
  }
  ~AgentTest() override {
    client_->end({base::ErrorCode::kUnavailable, "over"});
    if (thread_.joinable()) {
      over_ = true;
      loop_.wake();
      thread_.join();
    }
  }
  void run() {
    thread_ = std::thread([this] {
      while (!over_)
        loop_.wait(std::chrono::seconds(1));
    });
  }
  void say(std::string_view bytes) {
    client_->on_data(
        {static_cast<const std::uint8_t*>(static_cast<const void*>(bytes.data())), bytes.size()});
  }
  void take(const std::string& data) {
    received_ += data;
    for (;;) {
      if (received_.size() < SNOWGLOBE_HEADER_SIZE) return;
      const auto length = base::load_le<std::uint32_t>(received_.data());
      if (received_.size() < SNOWGLOBE_HEADER_SIZE + length) return;
      const Frame frame{base::load_le<std::uint32_t>(&received_[4]),
                        base::load_le<std::uint16_t>(&received_[8]),
                        received_.substr(SNOWGLOBE_HEADER_SIZE, length)};
      received_.erase(0, SNOWGLOBE_HEADER_SIZE + length);
      if (script_) script_(frame);
    }
  }

  AsioLoop loop_;
  PortMachine machine_;
  std::unique_ptr<AgentClient> client_;
  std::function<void(const Frame&)> script_;
  std::string received_, heard_;
  std::atomic<bool> over_ = false;
  std::thread thread_;
};

}  // namespace snowglobe::detail::test
