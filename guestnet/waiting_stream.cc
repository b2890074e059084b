// guestnet/waiting_stream.cc - what ends the wait before a client comes.
#include "guestnet/waiting_stream.h"

namespace snowglobe::net {

StreamInfo info_of(const SavedStream& saved) {
  StreamInfo info;
  info.id = saved.id;
  info.state = StreamState::kOpen;
  info.source = saved.tuple.local;
  info.source_port = saved.tuple.local_port;
  info.guest_port = saved.tuple.remote_port;
  info.bytes_to_guest = saved.bytes_to_guest;
  info.bytes_to_client = saved.bytes_to_client;
  info.quiet = true;
  return info;
}

WaitingStream::WaitingStream(const SavedStream& saved, const base::Clock& clock, OnGone on_gone)
    : info_(info_of(saved)), on_gone_(std::move(on_gone)) {
  info_.opened_at = info_.idle_since = clock.monotonic();
}

void WaitingStream::drop() {
  const auto keep = shared_from_this();  // on_gone_ takes us out of the table
  if (TcpConnection* connection = std::exchange(connection_, nullptr); connection != nullptr) {
    connection->abort();
  }
  on_gone_(info_.id);
}

std::size_t WaitingStream::on_data(base::ConstBytes bytes) {
  drop();
  return bytes.size();
}

void WaitingStream::on_closed(CloseReason) {
  connection_ = nullptr;
  drop();
}

}  // namespace snowglobe::net
