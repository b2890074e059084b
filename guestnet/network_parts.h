// guestnet/network_parts.h - the inside of a Network, shared by network.cc, network_restore.cc and
// the listeners.
#pragma once

#include "guestnet/acceptor.h"
#include "guestnet/arp.h"
#include "guestnet/dhcp.h"
#include "guestnet/icmp.h"
#include "guestnet/ipv6.h"
#include "guestnet/link.h"
#include "guestnet/network.h"
#include "guestnet/network_state.h"
#include "guestnet/stream.h"
#include "guestnet/tcp_endpoint.h"
#include "guestnet/waiting_stream.h"

#include <deque>
#include <map>
#include <memory>
#include <vector>

namespace snowglobe::net {

struct Network::Parts {
  Parts(const NetworkConfig& given, std::unique_ptr<Capture> capture);
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;

  void on_frame(base::ConstBytes frame, const base::FrameOffload& offload);
  void on_ipv4(const EthernetFrame& ethernet, const base::FrameOffload& offload);
  /// False: the datagram is not for a service of ours, what it came for is still open.
  bool on_udp(const Ipv4Packet& packet, const base::FrameOffload& offload);
  base::Result<StreamId> open_stream(asio::generic::stream_protocol::socket client,
                                     const StreamTarget& target);
  void on_stream_closed(Stream& stream);
  std::shared_ptr<Stream> make_stream(asio::generic::stream_protocol::socket client,
                                      const StreamTarget& target);

  // network_restore.cc
  [[nodiscard]] NetworkState state() const;
  [[nodiscard]] base::Result<NetworkState> checked(base::ConstBytes bytes,
                                                   const RestorePlan& plan) const;
  [[nodiscard]] base::Result<void> check_plan(const NetworkState& saved,
                                              const RestorePlan& plan) const;
  void apply(const NetworkState& saved, const RestorePlan& plan);
  void wait_for_client(const SavedStream& saved);
  void keep_for_later(base::ConstBytes frame, const base::FrameOffload& offload);
  void pass_held_frames();

  struct HeldFrame {
    std::vector<std::uint8_t> frame;
    base::FrameOffload offload;
  };
  static constexpr std::size_t kHeldFrames = 256;
  static constexpr std::size_t kHeldBytes = std::size_t{1} << 20;

  const NetworkConfig config;
  NetworkStatistics statistics;
  const std::unique_ptr<Alarm> own_alarm;
  Alarm& alarm;
  Link link;
  Arp arp;
  Icmp icmp;
  DhcpServer dhcp;
  Ipv6 ipv6;
  TcpEndpoint tcp;
  std::map<StreamId, std::shared_ptr<Stream>> streams;
  std::map<StreamId, std::shared_ptr<WaitingStream>> waiting;
  std::vector<std::weak_ptr<Acceptor>> acceptors;
  StreamId last_stream;  // begins anywhere: see StreamId
  ListenerId last_listener = 0;
  bool shut_down = false;
  bool held = false;
  std::deque<HeldFrame> held_frames;
  std::size_t held_bytes = 0;
};

}  // namespace snowglobe::net
