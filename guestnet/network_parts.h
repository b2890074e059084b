// guestnet/network_parts.h - the inside of a Network, shared by network.cc and the listeners.
#pragma once

#include "guestnet/acceptor.h"
#include "guestnet/arp.h"
#include "guestnet/dhcp.h"
#include "guestnet/icmp.h"
#include "guestnet/ipv6.h"
#include "guestnet/link.h"
#include "guestnet/network.h"
#include "guestnet/stream.h"
#include "guestnet/tcp_endpoint.h"

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
  std::vector<std::weak_ptr<Acceptor>> acceptors;
  StreamId last_stream = 0;
  ListenerId last_listener = 0;
  bool shut_down = false;
};

}  // namespace snowglobe::net
