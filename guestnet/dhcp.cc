// guestnet/dhcp.cc - DHCP messages: DISCOVER, REQUEST and INFORM are answered, the rest is noted
// only.
#include "guestnet/dhcp.h"

#include <array>
#include <optional>

namespace snowglobe::net {
namespace {

// RFC 2131, 2: the fixed part of a message, and the cookie before the options.
constexpr std::size_t kFixedPart = 236;
constexpr std::uint32_t kMagicCookie = 0x63825363;
constexpr std::size_t kMessageLength =
    300;  // what BOOTP clients take for the least (RFC 1542, 2.1)

// RFC 2132, 9.6.
constexpr std::uint8_t kNoAnswer = 0;
constexpr std::uint8_t kDiscover = 1;
constexpr std::uint8_t kOffer = 2;
constexpr std::uint8_t kRequestMessage = 3;
constexpr std::uint8_t kAck = 5;
constexpr std::uint8_t kNak = 6;
constexpr std::uint8_t kInform = 8;

constexpr std::uint8_t kOptionSubnetMask = 1;
constexpr std::uint8_t kOptionRouter = 3;
constexpr std::uint8_t kOptionDns = 6;
constexpr std::uint8_t kOptionMtu = 26;
constexpr std::uint8_t kOptionBroadcast = 28;
constexpr std::uint8_t kOptionRequestedAddress = 50;
constexpr std::uint8_t kOptionLeaseTime = 51;
constexpr std::uint8_t kOptionMessageType = 53;
constexpr std::uint8_t kOptionServerId = 54;
constexpr std::uint8_t kOptionEnd = 255;

/// Appends options; the caller's buffer has room for all that we ever write.
class OptionWriter {
 public:
  explicit OptionWriter(std::uint8_t* to) : at_(to), start_(to) {}

  void add(std::uint8_t code, std::uint8_t value) {
    header(code, 1);
    *at_++ = value;
  }
  void add(std::uint8_t code, std::uint16_t value) {
    header(code, 2);
    base::store_be(at_, value);
    at_ += 2;
  }
  void add(std::uint8_t code, std::uint32_t value) {
    header(code, 4);
    base::store_be(at_, value);
    at_ += 4;
  }
  void add(std::uint8_t code, Ipv4Address address) { add(code, address.value); }
  std::size_t end() {
    *at_++ = kOptionEnd;
    return static_cast<std::size_t>(at_ - start_);
  }

 private:
  void header(std::uint8_t code, std::uint8_t length) {
    *at_++ = code;
    *at_++ = length;
  }

  std::uint8_t* at_;
  std::uint8_t* start_;
};

}  // namespace

struct DhcpServer::Request {
  base::ConstBytes fixed;
  std::uint8_t type = 0;
  Ipv4Address client;  // ciaddr
  bool broadcast = false;
  MacAddress mac;
  std::optional<Ipv4Address> requested;
  std::optional<Ipv4Address> server;
};

bool DhcpServer::parse(base::ConstBytes message, Request& request) {
  if (message.size() < kFixedPart + 4) return false;
  const bool ethernet_request = message[0] == 1 && message[1] == 1 && message[2] == 6;
  if (!ethernet_request || base::load_be<std::uint32_t>(&message[kFixedPart]) != kMagicCookie) {
    return false;
  }
  request.fixed = message.first(kFixedPart);
  request.broadcast = (message[10] & 0x80) != 0;
  request.client = Ipv4Address::load(&message[12]);
  request.mac = MacAddress::load(&message[28]);
  if (request.mac.is_group()) return false;
  for (std::size_t at = kFixedPart + 4; at < message.size();) {
    const std::uint8_t code = message[at++];
    if (code == 0) continue;  // padding
    if (code == kOptionEnd) break;
    if (at >= message.size()) return false;
    const std::size_t length = message[at++];
    if (!base::range_fits(at, length, message.size())) return false;
    if (code == kOptionMessageType && length == 1) request.type = message[at];
    if (code == kOptionRequestedAddress && length == 4) {
      request.requested = Ipv4Address::load(&message[at]);
    }
    if (code == kOptionServerId && length == 4) request.server = Ipv4Address::load(&message[at]);
    at += length;
  }
  return request.type != 0;
}

bool DhcpServer::on_datagram(const UdpDatagram& datagram) {
  Request request;
  if (!parse(datagram.payload, request)) return false;
  const std::uint8_t answer = choose_answer(request);
  if (answer != kNoAnswer) send(request, answer);
  return true;
}

std::uint8_t DhcpServer::choose_answer(const Request& request) const {
  switch (request.type) {
    case kDiscover:
      return kOffer;
    case kRequestMessage: {
      // RFC 2131, 4.3.2: the client chose another server, if there were one.
      if (request.server.has_value() && *request.server != plan_.gateway) return kNoAnswer;
      const Ipv4Address wanted = request.requested.value_or(request.client);
      return wanted == plan_.guest ? kAck : kNak;
    }
    case kInform:
      return kAck;
    default:
      return kNoAnswer;  // DECLINE and RELEASE: there is nothing else to give
  }
}

std::size_t DhcpServer::write_options(std::uint8_t* to, const Request& request,
                                      std::uint8_t type) const {
  OptionWriter options(to);
  options.add(kOptionMessageType, type);
  options.add(kOptionServerId, plan_.gateway);
  if (type != kNak) {
    if (request.type != kInform) options.add(kOptionLeaseTime, 0xFFFFFFFFu);
    options.add(kOptionSubnetMask, plan_.netmask());
    options.add(kOptionRouter, plan_.gateway);
    options.add(kOptionDns, plan_.gateway);
    options.add(kOptionBroadcast, plan_.subnet_broadcast());
    options.add(kOptionMtu, kMtu);
  }
  return options.end();
}

void DhcpServer::send(const Request& request, std::uint8_t type) {
  std::array<std::uint8_t, kEthernetHeader + kIpv4Header + kUdpHeader + kMessageLength> frame{};
  std::uint8_t* message = &frame[kEthernetHeader + kIpv4Header + kUdpHeader];
  message[0] = 2;  // BOOTREPLY
  message[1] = 1;
  message[2] = 6;
  std::memcpy(message + 4, &request.fixed[4], 4);    // transaction id
  std::memcpy(message + 10, &request.fixed[10], 2);  // flags
  const bool leases = type != kNak && request.type != kInform;
  if (leases) plan_.guest.store(message + 16);  // yiaddr
  if (type == kAck) request.client.store(message + 12);
  std::memcpy(message + 28, &request.fixed[28], 16);  // hardware address
  base::store_be(message + kFixedPart, kMagicCookie);
  write_options(message + kFixedPart + 4, request, type);

  // RFC 2131, 4.1: to a configured client directly, else as its broadcast flag says.
  Ipv4Address to = plan_.guest;
  MacAddress to_mac = request.mac;
  if (type == kNak || (request.client.is_zero() && request.broadcast)) {
    to = Ipv4Address(0xFFFFFFFF);
    to_mac = kBroadcastMac;
  } else if (!request.client.is_zero()) {
    to = request.client;
  }
  write_ethernet(frame.data(), to_mac, plan_.host_mac, kEtherTypeIpv4);
  write_ipv4(&frame[kEthernetHeader], plan_.gateway, to, kProtocolUdp, kUdpHeader + kMessageLength);
  write_udp(base::Bytes(frame).subspan(kEthernetHeader + kIpv4Header), plan_.gateway, kServerPort,
            to, kClientPort);
  link_.send_or_queue(frame);
}

}  // namespace snowglobe::net
