// guestnet/network_state.cc - the state of a network as bytes, and everything that is wrong with
// bytes that claim to be one.
#include "guestnet/network_state.h"

#include "base/archive.h"
#include "guestnet/tcp_endpoint.h"

#include <set>
#include <string>

namespace snowglobe::net {

template <class Archive>
void describe(Archive& archive, MacAddress& mac) {
  archive(mac.octets);
}

template <class Archive>
void describe(Archive& archive, Ipv4Address& address) {
  archive(address.value);
}

template <class Archive>
void describe(Archive& archive, SeqNum& number) {
  std::uint32_t value = number.value();
  archive(value);
  number = SeqNum(value);
}

template <class Archive>
void describe(Archive& archive, FourTuple& tuple) {
  archive(tuple.local, tuple.remote, tuple.local_port, tuple.remote_port);
}

template <class Archive>
void describe(Archive& archive, AddressPlan& plan) {
  archive(plan.host_mac, plan.guest, plan.gateway, plan.pipe, plan.prefix_length);
}

template <class Archive>
void describe(Archive& archive, TcpControlBlock& block) {
  archive(block.state, block.iss, block.snd_una, block.snd_nxt, block.snd_max, block.snd_wnd,
          block.max_snd_wnd, block.snd_wl1, block.snd_wl2, block.irs, block.rcv_nxt, block.rcv_edge,
          block.last_ack_sent, block.mss, block.scaling, block.snd_scale, block.rcv_scale,
          block.fin_wanted, block.fin_acked, block.fin_received, block.fin_at);
}

template <class Archive>
void describe(Archive& archive, TcpReset& reset) {
  archive(reset.seq, reset.ack);
}

template <class Archive>
void describe(Archive& archive, SavedStream& stream) {
  archive(stream.id, stream.tuple, stream.bytes_to_guest, stream.bytes_to_client, stream.block,
          stream.owes_ack);
}

template <class Archive>
void describe(Archive& archive, SavedReset& saved) {
  archive(saved.id, saved.tuple, saved.reset);
}

template <class Archive>
void describe(Archive& archive, NetworkState& state) {
  archive.section("SGNW", 2);
  archive(state.plan, state.guest_mac, state.next_port, state.streams, state.resets);
}

namespace {

constexpr std::size_t kDigestLength = 8;

base::Error corrupt(const std::string& what) {
  return {base::ErrorCode::kCorrupt, "read the saved state of the network: " + what};
}

bool within(std::int32_t value, std::size_t limit) {
  return value >= 0 && static_cast<std::size_t>(value) <= limit;
}

/// What TcpConnection::quiet() promises, and what its arithmetic relies on.
bool can_go_on(const TcpControlBlock& block) {
  const bool at_rest = block.state == TcpState::kEstablished && block.snd_una == block.snd_nxt &&
                       block.snd_una == block.snd_max && !block.fin_wanted && !block.fin_acked &&
                       !block.fin_received && !block.fin_at.has_value();
  const bool scales = block.snd_scale <= kMaxWindowScale && block.rcv_scale <= kMaxWindowScale &&
                      (block.scaling || (block.snd_scale == 0 && block.rcv_scale == 0));
  constexpr std::uint32_t kLargestWindow = std::uint32_t{0xFFFF} << kMaxWindowScale;
  const bool windows = block.snd_wnd <= block.max_snd_wnd && block.max_snd_wnd <= kLargestWindow &&
                       within(block.rcv_edge - block.rcv_nxt, TcpSettings::kLargestBuffer) &&
                       within(block.rcv_nxt - block.last_ack_sent, TcpSettings::kLargestBuffer);
  const bool segments = block.mss >= TcpSettings::kSmallestMss && block.mss <= kMtu - 40;
  return at_rest && scales && windows && segments;
}

bool fits(const FourTuple& tuple, const AddressPlan& plan) {
  return plan.is_ours(tuple.local) && tuple.remote == plan.guest &&
         TcpEndpoint::is_our_port(tuple.local_port);
}

/// Null if nothing is wrong.
const char* what_is_wrong(const NetworkState& state) {
  if (state.guest_mac.has_value() && state.guest_mac->is_group()) return "its guest is a group";
  if (!TcpEndpoint::is_our_port(state.next_port)) return "a port is out of range";
  const bool any = !state.streams.empty() || !state.resets.empty();
  if (any && !state.guest_mac.has_value()) return "it has connections to nowhere";
  std::set<FourTuple> tuples;
  std::set<StreamId> ids;
  for (const SavedStream& stream : state.streams) {
    if (stream.id == 0 || !ids.insert(stream.id).second) return "two streams are the same";
    if (!fits(stream.tuple, state.plan)) return "a connection has an address out of range";
    if (!tuples.insert(stream.tuple).second) return "two connections are the same";
    if (!can_go_on(stream.block)) return "a connection could not go on like that";
  }
  for (const SavedReset& saved : state.resets) {
    if (saved.id != 0 && !ids.insert(saved.id).second) return "two streams are the same";
    if (!fits(saved.tuple, state.plan)) return "a connection has an address out of range";
    if (!tuples.insert(saved.tuple).second) return "two connections are the same";
  }
  return nullptr;
}

}  // namespace

std::uint64_t state_digest(base::ConstBytes body) {
  std::uint64_t hash = 0xCBF29CE484222325;
  for (const std::uint8_t byte : body)
    hash = (hash ^ byte) * 0x100000001B3;
  return hash;
}

std::vector<std::uint8_t> encode(NetworkState state) {
  base::ArchiveWriter writer;
  describe(writer, state);
  std::vector<std::uint8_t> bytes = writer.take();
  std::uint8_t digest[kDigestLength];
  base::store_le(digest, state_digest(bytes));
  bytes.insert(bytes.end(), digest, digest + kDigestLength);
  return bytes;
}

base::Result<NetworkState> decode(base::ConstBytes bytes) {
  if (bytes.size() < kDigestLength) return corrupt("it is cut off");
  const base::ConstBytes body = bytes.first(bytes.size() - kDigestLength);
  if (base::load_le<std::uint64_t>(bytes.data() + body.size()) != state_digest(body)) {
    return corrupt("its checksum does not match");
  }
  base::ArchiveReader reader(body);
  NetworkState state;
  describe(reader, state);
  if (!reader.finished()) return corrupt("not in a format of this version");
  if (const char* wrong = what_is_wrong(state); wrong != nullptr) return corrupt(wrong);
  return state;
}

}  // namespace snowglobe::net
