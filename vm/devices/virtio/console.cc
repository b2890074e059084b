// vm/devices/virtio/console.cc - control messages, and the flow of bytes with back-pressure.
#include "vm/devices/virtio/console.h"

#include "base/check.h"

#include <algorithm>
#include <array>

namespace snowglobe::vm {

namespace {

constexpr u32 kFeatureMultiport = 1u << 1;

/// struct virtio_console_control (5.3.6.2)
enum Event : u16 {
  kDeviceReady = 0,
  kPortAdd = 1,
  kPortReady = 3,
  kPortOpen = 6,
  kPortName = 7,
};
constexpr u32 kMessageBytes = 8;
constexpr std::size_t kMaxOutgoing =
    256;  // a driver that asks again and again gets no more than this

// Queues (5.3.2): those of port 0, the two of control, then a pair a port; receive, then transmit.
constexpr std::size_t kControlReceive = 2;
constexpr std::size_t kControlTransmit = 3;
constexpr std::size_t kFirstPortQueue = 4;
constexpr std::size_t receive_queue(std::size_t port) {
  return kFirstPortQueue + 2 * port;
}
constexpr std::size_t transmit_queue(std::size_t port) {
  return kFirstPortQueue + 2 * port + 1;
}

constexpr u16 kQueueSize = 64;
constexpr u32 kChainBytes = 1u << 20;
constexpr u32 kChainCost = 256;
const std::string kNoText;

std::vector<Queue::Limits> queues_for(std::size_t ports) {
  return std::vector<Queue::Limits>(kFirstPortQueue + 2 * ports,
                                    {.size = kQueueSize, .chain_bytes = kChainBytes});
}

}  // namespace

VirtioConsole::VirtioConsole(GuestRam& ram, InterruptLine& line, std::vector<Port> ports)
    : VirtioDevice(ram, line, VirtioType::kConsole, kFeatureMultiport, queues_for(ports.size())) {
  SG_ASSERT(ports.size() <= kMaxPorts, "too many console ports");
  for (Port& port : ports) {
    ports_.push_back(std::make_unique<Channel>());
    ports_.back()->port = std::move(port);
  }
  std::vector<u8> config(12, 0);  // columns and rows stay 0: SIZE is not offered
  base::store_le<u32>(&config[4], static_cast<u32>(ports_.size() + 1));
  set_config(std::move(config));
}

void VirtioConsole::on_reset() {
  outgoing_.clear();
  for (const auto& channel : ports_) {
    channel->ready = false;
    channel->taken = 0;
    set_open(*channel, false);
  }
}

void VirtioConsole::on_notify(std::size_t index) {
  if (index == kControlTransmit) return read_control_messages();
  if (index == kControlReceive) return flush_messages();
  if (index < kFirstPortQueue) return;
  const std::size_t port = (index - kFirstPortQueue) / 2;
  if (index == transmit_queue(port)) return drain(port);
  if (queue(index).has_available()) tell_send_ready(*ports_[port]);
}

void VirtioConsole::tell_send_ready(Channel& channel) {
  if (!channel.send_refused) return;
  channel.send_refused = false;
  channel.port.backend->on_send_ready();
}

void VirtioConsole::on_poll() {
  read_control_messages();
  for (std::size_t port = 0; port < ports_.size(); ++port)
    drain(port);
}

void VirtioConsole::read_control_messages() {
  u64 handled = 0;
  do {
    while (handled < kQueueSize && queue(kControlTransmit).pop(chain_)) {
      ++handled;
      std::array<u8, kMessageBytes> bytes{};
      const bool whole = chain_.read(0, bytes) == kMessageBytes;
      queue(kControlTransmit).push(chain_.head, 0);
      if (!whole) continue;
      handle_control({.port = base::load_le<u32>(&bytes[0]),
                      .event = base::load_le<u16>(&bytes[4]),
                      .value = base::load_le<u16>(&bytes[6])});
    }
    if (handled >= kQueueSize) {
      ask_for_poll(Pending::kBusy);
      break;
    }
  } while (queue(kControlTransmit).enable_notifications());
  signal(kControlTransmit);
}

void VirtioConsole::handle_control(const Message& message) {
  if (message.event == kDeviceReady) {
    if (message.value == 0) return;  // the driver could not start
    for (u32 id = 1; id <= ports_.size(); ++id)
      tell({.port = id, .event = kPortAdd, .value = 1});
    return;
  }
  if (message.port == 0 || message.port > ports_.size()) return;
  Channel& channel = *ports_[message.port - 1];
  if (message.event == kPortReady) {
    channel.ready = message.value != 0;
    if (!channel.ready) return;
    tell({.port = message.port, .event = kPortName, .value = 1});
    // The host's end is always there: without this, the guest's writes would wait for it.
    tell({.port = message.port, .event = kPortOpen, .value = 1});
  } else if (message.event == kPortOpen) {
    set_open(channel, message.value != 0);
  }
}

void VirtioConsole::set_open(Channel& channel, bool open) {
  if (channel.open.exchange(open, std::memory_order_relaxed) == open) return;
  tell_open(channel);
  if (open) tell_send_ready(channel);
}

void VirtioConsole::tell_open(Channel& channel) {
  channel.told_open = channel.open;
  channel.port.backend->on_open(channel.told_open);
}

void VirtioConsole::tell(const Message& message) {
  if (outgoing_.size() >= kMaxOutgoing) return;
  outgoing_.push_back(message);
  flush_messages();
}

void VirtioConsole::flush_messages() {
  Queue& receive = queue(kControlReceive);
  while (!outgoing_.empty()) {
    if (!receive.pop(chain_)) {
      if (receive.enable_notifications()) continue;
      break;
    }
    const Message& message = outgoing_.front();
    const std::string& text = message.event == kPortName ? name_of(message.port) : kNoText;
    std::vector<u8> bytes(kMessageBytes + text.size());
    base::store_le<u32>(&bytes[0], message.port);
    base::store_le<u16>(&bytes[4], message.event);
    base::store_le<u16>(&bytes[6], message.value);
    std::copy(text.begin(), text.end(), bytes.begin() + kMessageBytes);
    receive.push(chain_.head, chain_.write(0, bytes));
    outgoing_.pop_front();
  }
  signal(kControlReceive);
}

void VirtioConsole::drain(std::size_t index) {
  Channel& channel = *ports_[index];
  Queue& transmit = queue(transmit_queue(index));
  u64 moved = 0;
  do {
    while (moved < kTurnBytes && transmit.pop(chain_)) {
      if (!offer(channel)) {
        transmit.unpop(1);
        ask_for_poll(Pending::kStalled);
        return signal(transmit_queue(index));
      }
      moved += chain_.readable_bytes + kChainCost;
      channel.taken = 0;
      transmit.push(chain_.head, 0);
    }
    if (moved >= kTurnBytes) {
      ask_for_poll(Pending::kBusy);
      break;
    }
  } while (transmit.enable_notifications());
  signal(transmit_queue(index));
}

/// Offers what is left of chain_ to the host. False if the host did not take all of it.
bool VirtioConsole::offer(Channel& channel) {
  u32 begin = 0;  // of the part, counted from the start of the chain
  for (const base::ConstBytes part : chain_.readable) {
    const u32 end = begin + static_cast<u32>(part.size());
    if (channel.taken < end) {
      const base::ConstBytes rest = part.subspan(channel.taken - begin);
      const std::size_t taken = channel.port.backend->on_data(rest);
      channel.taken += static_cast<u32>(std::min(taken, rest.size()));
      if (channel.taken < end) return false;
    }
    begin = end;
  }
  return true;
}

std::size_t VirtioConsole::send(std::size_t index, base::ConstBytes data) {
  if (index >= ports_.size()) return 0;
  Channel& channel = *ports_[index];
  Queue& receive = queue(receive_queue(index));
  std::size_t sent = 0;
  // The driver throws away what comes before a program has opened the port.
  while (driver_ok() && channel.open && sent < data.size() && receive.pop(send_chain_)) {
    const u32 written = send_chain_.write(0, data.subspan(sent));
    sent += written;
    receive.push(send_chain_.head, written);
  }
  if (sent < data.size()) {
    channel.send_refused = true;
    receive.enable_notifications();
  }
  signal(receive_queue(index));
  check_broken();
  return sent;
}

ConsoleState VirtioConsole::console_state() const {
  ConsoleState state;
  for (const auto& channel : ports_)
    state.ports.push_back({channel->ready, channel->open.load(), channel->taken});
  state.outgoing.assign(outgoing_.begin(), outgoing_.end());
  return state;
}

bool VirtioConsole::could_be_console(const ConsoleState& state) const {
  if (state.ports.size() != ports_.size() || state.outgoing.size() > kMaxOutgoing) return false;
  const bool ports_fit = std::ranges::all_of(
      state.ports, [](const ConsoleState::Port& port) { return port.taken <= kChainBytes; });
  return ports_fit && std::ranges::all_of(state.outgoing, [this](const Message& message) {
           const bool known = message.event == kPortAdd || message.event == kPortName ||
                              message.event == kPortOpen;
           return known && message.port >= 1 && message.port <= ports_.size();
         });
}

void VirtioConsole::restore_console(const ConsoleState& state) {
  SG_DCHECK(could_be_console(state), "a state that was not checked");
  outgoing_.assign(state.outgoing.begin(), state.outgoing.end());
  for (std::size_t i = 0; i < ports_.size(); ++i) {
    ports_[i]->ready = state.ports[i].ready;
    ports_[i]->open = state.ports[i].open;
    ports_[i]->taken = state.ports[i].taken;
  }
}

void VirtioConsole::on_restored() {
  for (const auto& channel : ports_) {
    if (channel->open != channel->told_open) tell_open(*channel);
    channel->send_refused = false;
    channel->port.backend->on_send_ready();  // if there is no room, it is refused once more
  }
}

}  // namespace snowglobe::vm
