// guestnet/arp.h - ARP (RFC 826): answers for our addresses, and finds the guest's MAC address.
#pragma once

#include "guestnet/alarm.h"
#include "guestnet/link.h"

#include <functional>
#include <optional>

namespace snowglobe::net {

/// There is one neighbour, so the table has one entry. Thread rule: as Network.
class Arp {
 public:
  static constexpr base::Nanoseconds kRetryInterval = std::chrono::milliseconds(200);

  Arp(Link& link, const AddressPlan& plan) : link_(link), plan_(plan) {}

  /// Called when the guest's address becomes known.
  void set_on_resolved(std::function<void()> handler) { on_resolved_ = std::move(handler); }

  /// False if the packet is malformed.
  bool on_packet(base::ConstBytes payload);

  [[nodiscard]] const std::optional<MacAddress>& guest_mac() const { return guest_mac_; }
  /// What was known when a state was saved; or what the guest is told to have in place of that.
  /// Frames that it had made before, and sends only now, must not count.
  void restore(const std::optional<MacAddress>& saved, const std::optional<MacAddress>& told) {
    const bool other = told.has_value() && told != saved;
    guest_mac_ = other ? told : saved;
    former_mac_ = other ? saved : std::nullopt;
    retry_at_ = kNever;
  }
  /// An IPv4 packet of the guest came from `mac`.
  void learn(const MacAddress& mac);
  /// Asks for the guest's address, and goes on asking until it is known.
  void solicit(base::Nanoseconds now);
  /// Asks again if it is time to; gives up if nobody has anything to send any more.
  void on_time(base::Nanoseconds now, bool still_wanted);
  [[nodiscard]] base::Nanoseconds deadline() const { return retry_at_; }

 private:
  void send(std::uint16_t operation, const MacAddress& to_mac, Ipv4Address from, Ipv4Address to);

  Link& link_;
  const AddressPlan& plan_;
  std::function<void()> on_resolved_;
  std::optional<MacAddress> guest_mac_;
  std::optional<MacAddress> former_mac_;  // of another life
  base::Nanoseconds retry_at_ = kNever;
};

}  // namespace snowglobe::net
