// vm/devices/virtio/console.h - named byte streams between guest and host (virtio 1.1, 5.3,
// MULTIPORT).
//
// Port 0, which would be the console hvc0, is never added; port i + 1 is the i-th of the machine's
// configuration and appears as /dev/vport0p<i + 1> and under its name in /sys/class/virtio-ports.
#pragma once

#include "vm/backends.h"
#include "vm/devices/virtio/device.h"

#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <vector>

namespace snowglobe::vm {

/// What of a console is not in its queues: ports that are open, how far a half-taken buffer was
/// taken, and messages that wait for a buffer. What the host was told, or owes, is not the guest's.
struct ConsoleState {
  struct Port {
    bool ready = false;  ///< the driver knows the port
    bool open = false;
    u32 taken = 0;  ///< bytes of the oldest waiting chain that the host took already

    bool operator==(const Port&) const = default;
  };
  /// To the driver, without the name that a message about one ends with.
  struct Message {
    u32 port = 0;  ///< 1 is the first of the machine's configuration
    u16 event = 0;
    u16 value = 0;

    bool operator==(const Message&) const = default;
  };
  std::vector<Port> ports;
  std::vector<Message> outgoing;

  bool operator==(const ConsoleState&) const = default;
};

template <class Archive>
void describe(Archive& archive, ConsoleState::Port& port) {
  archive(port.ready, port.open, port.taken);
}
template <class Archive>
void describe(Archive& archive, ConsoleState::Message& message) {
  archive(message.port, message.event, message.value);
}
template <class Archive>
void describe(Archive& archive, ConsoleState& state) {
  archive(state.ports, state.outgoing);
}

/// Thread rule: machine's thread, but for port_open().
class VirtioConsole final : public VirtioDevice {
 public:
  struct Port {
    std::string name;
    PortBackend* backend = nullptr;  ///< not owned
  };
  static constexpr std::size_t kMaxPorts = 30;

  VirtioConsole(GuestRam& ram, InterruptLine& line, std::vector<Port> ports);

  /// Sends bytes to port `index`; returns how many were taken. When it is fewer than all,
  /// PortBackend::on_send_ready() follows.
  std::size_t send(std::size_t index, base::ConstBytes data);
  /// True while the guest's driver holds the port open. Any thread.
  [[nodiscard]] bool port_open(std::size_t index) const {
    return index < ports_.size() && ports_[index]->open.load(std::memory_order_relaxed);
  }

  /// Goes with state(), could_be() and restore() of the device.
  [[nodiscard]] ConsoleState console_state() const;
  [[nodiscard]] bool could_be_console(const ConsoleState& state) const;
  void restore_console(const ConsoleState& state);

 private:
  using Message = ConsoleState::Message;
  struct Channel {
    Port port;
    bool ready = false;  ///< as in ConsoleState::Port
    std::atomic<bool> open{false};
    bool told_open = false;     ///< what the backend knows of `open`
    bool send_refused = false;  ///< on_send_ready() is owed
    u32 taken = 0;
  };

  void on_notify(std::size_t index) override;
  void on_poll() override;
  void on_reset() override;
  void on_restored() override;

  void read_control_messages();
  void handle_control(const Message& message);
  void set_open(Channel& channel, bool open);
  void tell_open(Channel& channel);
  void tell(const Message& message);
  void flush_messages();
  /// Offers the host what the guest wrote to port `index`, as far as the host takes it.
  void drain(std::size_t index);
  bool offer(Channel& channel);
  void tell_send_ready(Channel& channel);
  [[nodiscard]] const std::string& name_of(u32 port) const { return ports_[port - 1]->port.name; }

  std::vector<std::unique_ptr<Channel>> ports_;
  std::deque<Message> outgoing_;  ///< control messages that wait for a buffer
  Chain chain_;
  Chain send_chain_;  ///< its own, because a backend may send() while it is offered chain_
};

}  // namespace snowglobe::vm
