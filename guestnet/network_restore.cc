// guestnet/network_restore.cc - a network's part of save and restore: what is written down, who
// goes on, who waits, and what is held back meanwhile. docs/guestnet.md, "Saved and restored".
#include "guestnet/network_parts.h"

#include <algorithm>
#include <set>
#include <utility>

namespace snowglobe::net {
namespace {

using base::Error;
using base::ErrorCode;

Error bad_plan(StreamId id, const std::string& what) {
  return {ErrorCode::kInvalidArgument,
          "restore the network: stream " + std::to_string(id) + ' ' + what};
}

/// The block of a connection that is at rest is all that there is of it; of another only its end is
/// worth telling.
void add_connection(NetworkState& state, const StreamInfo& info, const TcpConnection& connection) {
  if (connection.quiet()) {
    state.streams.push_back({info.id, connection.tuple(), info.bytes_to_guest, info.bytes_to_client,
                             connection.control_block(), connection.owes_ack()});
  } else if (const auto reset = connection.reset(); reset.has_value()) {
    state.resets.push_back({info.id, connection.tuple(), *reset});
  }
}

const SavedStream* find(const NetworkState& saved, StreamId id) {
  const auto found = std::find_if(saved.streams.begin(), saved.streams.end(),
                                  [id](const SavedStream& stream) { return stream.id == id; });
  return found == saved.streams.end() ? nullptr : &*found;
}

}  // namespace

NetworkState Network::Parts::state() const {
  NetworkState state;
  state.plan = config.addresses;
  state.guest_mac = arp.guest_mac();
  state.next_port = tcp.next_port();
  for (const auto& [id, stream] : streams) {
    if (stream->connection() != nullptr) {
      add_connection(state, stream->info(), *stream->connection());
    }
  }
  for (const auto& [id, stream] : waiting)
    add_connection(state, stream->info(), stream->connection());
  for (const auto& [tuple, reset] : tcp.owed_resets()) {
    // One in a handshake may owe a reset for what came out of place; its own end says as much.
    if (!tcp.has_connection(tuple)) state.resets.push_back({0, tuple, reset});
  }
  return state;
}

std::vector<std::uint8_t> Network::save() const {
  return encode(parts_->state());
}

base::Result<std::vector<StreamInfo>> Network::saved_streams(base::ConstBytes state) {
  const auto saved = decode(state);
  if (!saved.ok()) return saved.error();
  std::vector<StreamInfo> result;
  for (const SavedStream& stream : saved.value().streams)
    result.push_back(info_of(stream));
  for (const SavedReset& closed : saved.value().resets) {
    if (closed.id == 0) continue;
    StreamInfo info;
    info.id = closed.id;
    info.source = closed.tuple.local;
    info.source_port = closed.tuple.local_port;
    info.guest_port = closed.tuple.remote_port;
    result.push_back(info);
  }
  return result;
}

base::Result<NetworkState> Network::Parts::checked(base::ConstBytes bytes,
                                                   const RestorePlan& plan) const {
  if (shut_down) {
    return Error{ErrorCode::kUnavailable, "restore the network: it is shut down"};
  }
  auto decoded = decode(bytes);
  if (!decoded.ok()) return decoded;
  const NetworkState& saved = decoded.value();
  if (saved.plan != config.addresses) {
    return Error{ErrorCode::kUnsupported,
                 "restore the network: the state is of a cable with other addresses"};
  }
  const bool fits =
      std::all_of(saved.streams.begin(), saved.streams.end(), [this](const SavedStream& stream) {
        const TcpControlBlock& block = stream.block;
        return static_cast<std::size_t>(block.rcv_edge - block.rcv_nxt) <=
               config.tcp.receive_buffer;
      });
  if (!fits) {
    return Error{ErrorCode::kUnsupported,
                 "restore the network: its guest was promised larger receive buffers"};
  }
  if (auto good = check_plan(saved, plan); !good.ok()) return good.error();
  return decoded;
}

base::Result<void> Network::Parts::check_plan(const NetworkState& saved,
                                              const RestorePlan& plan) const {
  std::set<StreamId> named;
  for (const auto* list : {&plan.keep, &plan.wait}) {
    for (const StreamId id : *list) {
      if (!named.insert(id).second) return bad_plan(id, "is named twice");
      if (find(saved, id) == nullptr) return bad_plan(id, "was not saved as one that can go on");
    }
  }
  for (const StreamId id : plan.keep) {
    const auto present = streams.find(id);
    const TcpConnection* connection =
        present == streams.end() ? nullptr : present->second->connection();
    if (connection == nullptr) return bad_plan(id, "can not be kept: it is not open");
    if (!connection->quiet()) return bad_plan(id, "can not be kept: it is not quiet");
    if (connection->tuple() != find(saved, id)->tuple) {
      return bad_plan(id, "can not be kept: the saved one is another");
    }
  }
  if (named.size() > config.max_streams) {
    return Error{ErrorCode::kInvalidArgument,
                 "restore the network: more streams are to go on than there may be"};
  }
  return {};
}

base::Result<void> Network::check_restore(base::ConstBytes state, const RestorePlan& plan) const {
  const auto saved = parts_->checked(state, plan);
  if (!saved.ok()) return saved.error();
  return {};
}

base::Result<void> Network::restore(base::ConstBytes state, const RestorePlan& plan) {
  const auto saved = parts_->checked(state, plan);
  if (!saved.ok()) return saved.error();
  parts_->apply(saved.value(), plan);
  return {};
}

void Network::Parts::apply(const NetworkState& saved, const RestorePlan& plan) {
  const std::set<StreamId> kept(plan.keep.begin(), plan.keep.end());
  const std::set<StreamId> to_wait(plan.wait.begin(), plan.wait.end());
  std::vector<std::shared_ptr<Stream>> ended;
  for (const auto& [id, stream] : streams) {
    stream->detach();
    if (!kept.contains(id)) ended.push_back(stream);
  }
  for (const auto& stream : ended)
    streams.erase(stream->info().id);
  tcp.forget_all();
  waiting.clear();
  held_frames.clear();
  held_bytes = 0;
  held = true;
  link.hold(true);
  link.drop_waiting();
  arp.restore(saved.guest_mac, plan.guest_mac);
  tcp.set_restored_port(saved.next_port);
  for (const SavedReset& closed : saved.resets)
    tcp.reset_later(closed.tuple, closed.reset);
  for (const SavedStream& stream : saved.streams) {
    if (kept.contains(stream.id)) {
      Stream& present = *streams.at(stream.id);
      TcpConnection& connection = tcp.resume(stream.tuple, stream.block, present);
      if (stream.owes_ack) connection.owe_ack();
      present.switch_to(connection);
    } else if (to_wait.contains(stream.id)) {
      wait_for_client(stream);
    } else {
      tcp.reset_later(stream.tuple, {stream.block.snd_max, stream.block.rcv_nxt});
    }
  }
  // Last, since the observer may do anything but restore.
  for (const auto& stream : ended) {
    const auto words = plan.last_words.find(stream->info().id);
    stream->close(CloseReason::kRolledBack, words == plan.last_words.end()
                                                ? base::ConstBytes{}
                                                : base::ConstBytes(words->second));
  }
}

void Network::Parts::wait_for_client(const SavedStream& saved) {
  auto stream = std::make_shared<WaitingStream>(saved, *config.clock,
                                                [this](StreamId id) { waiting.erase(id); });
  TcpConnection& connection = tcp.resume(saved.tuple, saved.block, *stream);
  if (saved.owes_ack) connection.owe_ack();
  stream->take(connection);
  waiting.emplace(saved.id, std::move(stream));
}

void Network::hold(bool held) {
  Parts& parts = *parts_;
  if (parts.held == held) return;
  parts.held = held;
  parts.link.hold(held);
  if (held) return;
  on_transmit_ready();
  parts.pass_held_frames();
}

bool Network::held() const {
  return parts_->held;
}

void Network::Parts::keep_for_later(base::ConstBytes frame, const base::FrameOffload& offload) {
  if (held_frames.size() >= kHeldFrames || frame.size() > kHeldBytes - held_bytes) {
    ++statistics.held_dropped;  // TCP sends it again
    return;
  }
  held_bytes += frame.size();
  held_frames.push_back({{frame.begin(), frame.end()}, offload});
}

void Network::Parts::pass_held_frames() {
  while (!held && !shut_down && !held_frames.empty()) {
    const HeldFrame next = std::move(held_frames.front());
    held_frames.pop_front();
    held_bytes -= next.frame.size();
    on_frame(next.frame, next.offload);
  }
}

std::vector<StreamInfo> Network::waiting() const {
  std::vector<StreamInfo> result;
  for (const auto& [id, stream] : parts_->waiting)
    result.push_back(stream->info());
  return result;
}

base::Result<StreamId> Network::adopt(StreamId saved,
                                      asio::generic::stream_protocol::socket client) {
  Parts& parts = *parts_;
  if (parts.shut_down) {
    return Error{ErrorCode::kUnavailable, "adopt a stream: the network is shut down"};
  }
  const auto found = parts.waiting.find(saved);
  if (found == parts.waiting.end()) {
    return Error{ErrorCode::kNotFound,
                 "adopt a stream: " + std::to_string(saved) + " does not wait (any more)"};
  }
  const StreamInfo& info = found->second->info();
  const auto stream = parts.make_stream(std::move(client), {info.source, info.guest_port, 0});
  TcpConnection& connection = found->second->release();
  parts.waiting.erase(found);
  connection.set_user(*stream);
  const StreamId id = parts.last_stream;
  ++parts.statistics.streams_opened;
  parts.streams.emplace(id, stream);
  stream->join(connection);
  return id;
}

bool Network::drop_waiting(StreamId saved) {
  const auto found = parts_->waiting.find(saved);
  if (found == parts_->waiting.end()) return false;
  const auto stream = found->second;
  stream->drop();
  return true;
}

}  // namespace snowglobe::net
