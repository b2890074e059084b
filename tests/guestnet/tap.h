// tests/guestnet/tap.h - a TAP device in a network namespace of its own: the host's kernel as the
// guest.
#pragma once

#include "base/error.h"
#include "base/frame.h"
#include "guestnet/addresses.h"

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <memory>
#include <string>
#include <vector>

namespace snowglobe::net {

/// Moves the calling thread, and the threads that it starts, into a fresh network namespace with
/// the loopback device up. Fails where the user may not (then the tests are skipped).
base::Result<void> enter_network_namespace();

/// The guest's card: what the kernel sends into tap0 comes as frames, with the virtio-net header's
/// offloads in both directions.
class Tap final : public base::FrameTransmitter {
 public:
  /// Creates tap0 with the plan's guest address.
  static base::Result<std::unique_ptr<Tap>> create(asio::io_context& loop, const AddressPlan& plan);

  /// Starts to read; to be called on the loop's thread or before it runs.
  void start(base::FrameReceiver& receiver);
  void stop();

  bool transmit(base::ConstBytes frame, const base::FrameOffload& offload) override;

 private:
  Tap(asio::io_context& loop, int descriptor) : descriptor_(loop, descriptor), buffer_(70'000) {}

  void wait();
  void read_all();

  asio::posix::stream_descriptor descriptor_;
  base::FrameReceiver* receiver_ = nullptr;
  std::vector<std::uint8_t> buffer_;
};

}  // namespace snowglobe::net
