// guestnet/network.cc - puts the parts together: who gets which frame, the table of streams, the
// end.
#include "guestnet/network.h"

#include "guestnet/network_parts.h"

namespace snowglobe::net {
namespace {

using base::Error;
using base::ErrorCode;

base::Result<void> check(const NetworkConfig& config) {
  if (config.loop == nullptr || config.clock == nullptr || config.random == nullptr) {
    return Error{ErrorCode::kInvalidArgument,
                 "create a network: loop, clock and random must be given"};
  }
  const TcpSettings& tcp = config.tcp;
  const auto sensible = [](std::size_t size) {
    return size >= TcpSettings::kSmallestBuffer && size <= TcpSettings::kLargestBuffer;
  };
  if (!sensible(tcp.send_buffer) || !sensible(tcp.receive_buffer) ||
      tcp.mss < TcpSettings::kSmallestMss || tcp.mss > kMtu - 40 || config.max_streams == 0) {
    return Error{ErrorCode::kInvalidArgument,
                 "create a network: buffers must be 4 KiB to 64 MiB, the segment size 64 to 1460, "
                 "and at least one stream allowed"};
  }
  return {};
}

}  // namespace

Network::Parts::Parts(const NetworkConfig& given, std::unique_ptr<Capture> capture)
    : config(given),
      own_alarm(given.alarm == nullptr ? std::make_unique<AsioAlarm>(*given.loop, *given.clock)
                                       : nullptr),
      alarm(given.alarm == nullptr ? *own_alarm : *given.alarm),
      link(statistics, std::move(capture)),
      arp(link, config.addresses),
      icmp(link, config.addresses),
      dhcp(link, config.addresses),
      ipv6(link, config.addresses),
      tcp({link, arp, *config.clock, *config.random, alarm, statistics}, config),
      last_stream(config.random->next()) {
  alarm.set_handler([this] { tcp.on_alarm(); });
  arp.set_on_resolved([this] { tcp.on_ready(); });
}

void Network::Parts::on_ipv4(const EthernetFrame& ethernet, const base::FrameOffload& offload) {
  const auto packet = parse_ipv4(ethernet.payload);
  if (!packet.has_value()) {
    ++statistics.malformed;
    return;
  }
  const AddressPlan& plan = config.addresses;
  const bool from_guest = packet->source == plan.guest;
  if (packet->protocol == kProtocolUdp && !packet->fragment && on_udp(*packet, offload)) return;
  // Nobody else is on this cable: other sources are made up, or an interface without its lease yet.
  if (!from_guest || packet->fragment) {
    if (packet->fragment) ++statistics.malformed;
    return;
  }
  arp.learn(ethernet.source);
  if (!plan.is_ours(packet->destination)) {
    ++statistics.unreachable;
    icmp.send_unreachable(
        *packet, ethernet.source,
        plan.on_link(packet->destination) ? Unreachable::kHost : Unreachable::kNetwork);
    return;
  }
  switch (packet->protocol) {
    case kProtocolTcp:
      if (!tcp.on_packet(*packet, offload)) ++statistics.malformed;
      return;
    case kProtocolIcmp:
      if (!icmp.on_packet(*packet, ethernet.source)) ++statistics.malformed;
      return;
    default:
      ++statistics.unreachable;
      icmp.send_unreachable(
          *packet, ethernet.source,
          packet->protocol == kProtocolUdp ? Unreachable::kPort : Unreachable::kProtocol);
  }
}

bool Network::Parts::on_udp(const Ipv4Packet& packet, const base::FrameOffload& offload) {
  const auto datagram = parse_udp(packet, kEthernetHeader, offload);
  if (!datagram.has_value()) {
    ++statistics.malformed;
    return true;
  }
  const bool to_server =
      packet.destination == config.addresses.gateway || packet.destination.is_broadcast();
  if (datagram->destination_port != DhcpServer::kServerPort || !to_server) return false;
  if (!dhcp.on_datagram(*datagram)) ++statistics.malformed;
  return true;
}

void Network::Parts::on_frame(base::ConstBytes frame, const base::FrameOffload& offload) {
  const auto ethernet = parse_ethernet(frame);
  if (!ethernet.has_value() || ethernet->source.is_group()) {
    ++statistics.malformed;
    return;
  }
  if (ethernet->destination != config.addresses.host_mac && !ethernet->destination.is_group()) {
    return;
  }
  switch (ethernet->type) {
    case kEtherTypeIpv4:
      on_ipv4(*ethernet, offload);
      return;
    case kEtherTypeArp:
      if (!arp.on_packet(ethernet->payload)) ++statistics.malformed;
      return;
    case kEtherTypeIpv6: {
      const auto outcome = ipv6.on_packet(ethernet->payload, ethernet->source, offload);
      if (outcome == Ipv6::Outcome::kMalformed) ++statistics.malformed;
      if (outcome == Ipv6::Outcome::kUnreachable) ++statistics.unreachable;
      return;
    }
    default:
      return;  // some other protocol: not for us
  }
}

base::Result<std::unique_ptr<Network>> Network::create(const NetworkConfig& config) {
  if (auto good = check(config); !good.ok()) return good.error();
  std::unique_ptr<Capture> capture;
  if (!config.capture_file.empty()) {
    auto created = Capture::create(config.capture_file, *config.clock);
    if (!created.ok()) return created.error();
    capture = std::move(created).value();
  }
  std::unique_ptr<Network> network(new Network);
  network->parts_ = std::make_shared<Parts>(config, std::move(capture));
  return network;
}

Network::~Network() = default;

void Network::attach(base::FrameTransmitter* transmitter) {
  parts_->link.attach(transmitter);
  if (transmitter != nullptr && !parts_->shut_down) on_transmit_ready();
}

void Network::on_frame(base::ConstBytes frame, const base::FrameOffload& offload) {
  if (parts_->shut_down) return;
  parts_->link.note_received(frame, offload);
  if (parts_->held) {
    parts_->keep_for_later(frame, offload);
  } else {
    parts_->on_frame(frame, offload);
  }
}

void Network::on_transmit_ready() {
  parts_->link.on_ready();
  if (parts_->shut_down) {
    parts_->tcp.send_owed_resets();
  } else {
    parts_->tcp.on_ready();
  }
}

base::Result<StreamId> Network::open_stream(asio::generic::stream_protocol::socket client,
                                            const StreamTarget& target) {
  return parts_->open_stream(std::move(client), target);
}

base::Result<StreamId> Network::Parts::open_stream(asio::generic::stream_protocol::socket client,
                                                   const StreamTarget& target) {
  if (shut_down) return Error{ErrorCode::kUnavailable, "open a stream: the network is shut down"};
  if (streams.size() + waiting.size() >= config.max_streams) {
    ++statistics.streams_refused;
    return Error{ErrorCode::kResourceExhausted, "open a stream: the limit of " +
                                                    std::to_string(config.max_streams) +
                                                    " streams is reached"};
  }
  const auto stream = make_stream(std::move(client), target);
  TcpConnection* connection = tcp.create(target.source, target.guest_port, *stream);
  if (connection == nullptr) {
    return Error{ErrorCode::kResourceExhausted, "open a stream: no free port towards the guest"};
  }
  ++statistics.streams_opened;
  const StreamId id = last_stream;
  streams.emplace(id, stream);
  stream->start(*connection);
  return id;
}

std::shared_ptr<Stream> Network::Parts::make_stream(asio::generic::stream_protocol::socket client,
                                                    const StreamTarget& target) {
  if (++last_stream == 0) ++last_stream;
  return std::make_shared<Stream>(last_stream, target, std::move(client), *config.clock,
                                  [this](Stream& ended) { on_stream_closed(ended); });
}

void Network::Parts::on_stream_closed(Stream& stream) {
  const StreamInfo info = stream.info();
  streams.erase(info.id);  // the stream itself holds on to its life until it is done
  if (config.log) {
    config.log({base::LogLevel::kDebug, base::LogSource::kNetwork,
                "stream " + std::to_string(info.id) + " from " + info.source.to_string() + ':' +
                    std::to_string(info.source_port) +
                    " ended: " + std::string(to_string(info.close_reason))});
  }
  if (config.on_stream_closed) config.on_stream_closed(info);
}

std::vector<StreamInfo> Network::streams() const {
  std::vector<StreamInfo> result;
  result.reserve(parts_->streams.size());
  for (const auto& [id, stream] : parts_->streams)
    result.push_back(stream->info());
  return result;
}

std::optional<StreamInfo> Network::stream(StreamId id) const {
  const auto found = parts_->streams.find(id);
  if (found == parts_->streams.end()) return std::nullopt;
  return found->second->info();
}

bool Network::inject_to_client(StreamId id, base::ConstBytes bytes) {
  const auto found = parts_->streams.find(id);
  if (found == parts_->streams.end()) return false;
  const auto stream = found->second;
  return stream->inject(bytes);
}

bool Network::close_stream(StreamId id, base::ConstBytes last_words) {
  const auto found = parts_->streams.find(id);
  if (found == parts_->streams.end()) return false;
  const auto stream = found->second;
  stream->close(CloseReason::kRequested, last_words);
  return true;
}

void Network::shutdown() {
  Parts& parts = *parts_;
  if (parts.shut_down) return;
  for (const auto& weak : parts.acceptors) {
    if (const auto acceptor = weak.lock(); acceptor != nullptr) acceptor->close();
  }
  while (!parts.streams.empty()) {
    const auto stream = parts.streams.begin()->second;
    stream->close(CloseReason::kShutDown, {});
  }
  while (!parts.waiting.empty()) {
    const auto stream = parts.waiting.begin()->second;
    stream->drop();
  }
  parts.held_frames.clear();
  parts.shut_down = true;
  parts.alarm.set(kNever);
}

const NetworkStatistics& Network::statistics() const {
  return parts_->statistics;
}

const AddressPlan& Network::addresses() const {
  return parts_->config.addresses;
}

}  // namespace snowglobe::net
