// api/src/pipe_clients.cc - the first packet of a client of the private pipe, and what follows from
// it.
#include "api/src/pipe_clients.h"

#include <algorithm>
#include <asio/buffer.hpp>
#include <sys/socket.h>

namespace snowglobe::detail {
namespace {

// Who connects and says nothing takes a descriptor each; no more of them than that are waited for.
constexpr std::size_t kMostSilent = 128;

}  // namespace

void PipeClients::on_client(Socket client) {
  if (closed_) return;  // the socket closes
  const auto newcomer = std::make_shared<Newcomer>(std::move(client));
  std::error_code error;
  newcomer->socket.non_blocking(true, error);
  newcomers_.push_back(newcomer);
  if (newcomers_.size() > kMostSilent) newcomers_.pop_front();
  look_at(newcomer);
}

void PipeClients::look_at(const std::shared_ptr<Newcomer>& newcomer) {
  std::array<std::uint8_t, kMaxStartup> buffer;
  // Looked at, not taken: the guest is to have it.
  const ssize_t got = ::recv(newcomer->socket.native_handle(), buffer.data(), buffer.size(),
                             MSG_PEEK | MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
    newcomer->socket.async_wait(
        Socket::wait_read, [this, weak = std::weak_ptr(newcomer)](const std::error_code& error) {
          const auto alive = weak.lock();
          if (alive != nullptr && !error) look_at(alive);
        });
    return;
  }
  std::erase(newcomers_, newcomer);
  if (got <= 0) return;  // it has gone
  StartupPacket packet;
  // libpq sends the packet whole. Whoever does not is not one of ours.
  const bool startup =
      read_startup({buffer.data(), static_cast<std::size_t>(got)}, packet) == StartupState::startup;
  let_in(std::move(newcomer->socket), startup ? &packet : nullptr);
}

void PipeClients::let_in(Socket client, const StartupPacket* packet) {
  if (packet != nullptr && packet->token != 0 && take_over(client, *packet)) return;
  // If there is no room, the socket goes with the error, and its client sees the end of the stream.
  const auto stream = network_.open_stream(std::move(client), target_);
  if (stream && packet != nullptr && packet->token != 0) note(stream.value(), *packet);
}

const std::vector<SessionPicture>& PipeClients::waiting() {
  if (waiting_.empty()) return waiting_;
  const std::vector<net::StreamInfo> there = network_.waiting();
  std::erase_if(waiting_, [&there](const SessionPicture& session) {
    return std::none_of(there.begin(), there.end(), [&](const net::StreamInfo& info) {
      return info.id == session.stream && info.quiet;
    });
  });
  return waiting_;
}

bool PipeClients::take_over(Socket& client, const StartupPacket& packet) {
  if (waiting().empty()) return false;
  const std::string key = packet.key();
  // What the database's pool did with a session, its own sessions shall not find.
  const auto found =
      std::find_if(waiting_.begin(), waiting_.end(), [&](const SessionPicture& session) {
        return session.startup == key && (packet.pooled || session.adoption == Adoption::anybody);
      });
  if (found == waiting_.end()) return false;
  const SessionPicture session = std::move(*found);
  waiting_.erase(found);
  std::vector<std::uint8_t> taken(packet.size);
  std::error_code error;
  if (client.read_some(asio::buffer(taken), error) != packet.size) return false;
  // Its cancel requests go through the agent, which asks for no key.
  const std::string words = greeting(session, 0);
  const std::size_t said = client.write_some(asio::buffer(words), error);
  if (said != words.size()) {
    client.close(error);
    return true;
  }
  if (const auto stream = network_.adopt(session.stream, std::move(client)); stream) {
    note(stream.value(), packet);
  }
  return true;
}

void PipeClients::note(net::StreamId stream, const StartupPacket& packet) {
  own_[packet.token] = {stream, packet.pooled, packet.key()};
}

const PipeClients::Own* PipeClients::find(SessionToken token) const {
  const auto found = own_.find(token);
  return found == own_.end() ? nullptr : &found->second;
}

void PipeClients::stream_closed(net::StreamId stream) {
  std::erase_if(own_, [stream](const auto& entry) { return entry.second.stream == stream; });
}

void PipeClients::close() {
  closed_ = true;
  newcomers_.clear();
}

}  // namespace snowglobe::detail
