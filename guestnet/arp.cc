// guestnet/arp.cc - ARP for Ethernet and IPv4.
#include "guestnet/arp.h"

#include "guestnet/packet.h"

#include <utility>

namespace snowglobe::net {
namespace {

constexpr std::size_t kArpLength = 28;
constexpr std::uint16_t kRequest = 1;
constexpr std::uint16_t kReply = 2;

bool is_ethernet_ipv4(base::ConstBytes packet) {
  return base::load_be<std::uint16_t>(&packet[0]) == 1 &&
         base::load_be<std::uint16_t>(&packet[2]) == kEtherTypeIpv4 && packet[4] == 6 &&
         packet[5] == 4;
}

}  // namespace

bool Arp::on_packet(base::ConstBytes payload) {
  if (payload.size() < kArpLength || !is_ethernet_ipv4(payload)) return false;
  const auto operation = base::load_be<std::uint16_t>(&payload[6]);
  const MacAddress sender_mac = MacAddress::load(&payload[8]);
  const Ipv4Address sender = Ipv4Address::load(&payload[14]);
  const Ipv4Address target = Ipv4Address::load(&payload[24]);
  if (sender_mac.is_group() || (operation != kRequest && operation != kReply)) return false;
  if (sender == plan_.guest) learn(sender_mac);
  if (operation == kRequest && plan_.is_ours(target)) send(kReply, sender_mac, target, sender);
  return true;
}

void Arp::learn(const MacAddress& mac) {
  if (mac.is_group() || guest_mac_ == mac || former_mac_ == mac) return;
  const bool first = !guest_mac_.has_value();
  guest_mac_ = mac;
  retry_at_ = kNever;
  if (first && on_resolved_) on_resolved_();
}

void Arp::solicit(base::Nanoseconds now) {
  if (guest_mac_.has_value() || retry_at_ != kNever) return;
  retry_at_ = now + kRetryInterval;
  send(kRequest, kBroadcastMac, plan_.gateway, plan_.guest);
}

void Arp::on_time(base::Nanoseconds now, bool still_wanted) {
  if (now < retry_at_) return;
  retry_at_ = still_wanted ? now + kRetryInterval : kNever;
  if (!still_wanted) return;
  // While the guest takes nothing, more requests would only wait in line behind the first.
  if (link_.ready()) send(kRequest, kBroadcastMac, plan_.gateway, plan_.guest);
}

void Arp::send(std::uint16_t operation, const MacAddress& to_mac, Ipv4Address from,
               Ipv4Address to) {
  std::uint8_t frame[kEthernetHeader + kArpLength] = {};
  write_ethernet(frame, to_mac, plan_.host_mac, kEtherTypeArp);
  std::uint8_t* packet = frame + kEthernetHeader;
  base::store_be(packet, std::uint16_t{1});
  base::store_be(packet + 2, kEtherTypeIpv4);
  packet[4] = 6;
  packet[5] = 4;
  base::store_be(packet + 6, operation);
  plan_.host_mac.store(packet + 8);
  from.store(packet + 14);
  if (operation == kReply) to_mac.store(packet + 18);
  to.store(packet + 24);
  link_.send_or_queue(frame);
}

}  // namespace snowglobe::net
