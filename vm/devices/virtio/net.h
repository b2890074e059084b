// vm/devices/virtio/net.h - the network card: frames between the guest and base::FrameReceiver
// (virtio 1.1, 5.1), with checksums and TCP segmentation left to the receiver both ways.
#pragma once

#include "base/frame.h"
#include "vm/devices/virtio/device.h"

#include <array>
#include <vector>

namespace snowglobe::vm {

/// Thread rule: machine's thread.
class VirtioNet final : public VirtioDevice, public base::FrameTransmitter {
 public:
  /// `receiver` is not owned; it gets what the guest sends.
  VirtioNet(GuestRam& ram, InterruptLine& line, const std::array<u8, 6>& mac,
            base::FrameReceiver& receiver);

  bool transmit(base::ConstBytes frame, const base::FrameOffload& offload) override;

  struct Statistics {
    u64 frames_from_guest = 0;
    u64 frames_to_guest = 0;
    u64 dropped_from_guest = 0;  ///< malformed header or length
    u64 dropped_to_guest = 0;    ///< something that the driver did not negotiate
  };
  [[nodiscard]] const Statistics& statistics() const { return statistics_; }

 private:
  enum QueueIndex : std::size_t { kReceive = 0, kTransmit = 1 };

  void on_notify(std::size_t index) override;
  void on_poll() override;
  void on_reset() override;
  void on_restored() override;

  void drain_transmit_queue();
  void tell_transmit_ready();
  void send_one();
  [[nodiscard]] u32 header_bytes() const;
  /// The 12 bytes before a frame to the guest; empty optional if the driver can not take the frame.
  [[nodiscard]] bool make_header(const base::FrameOffload& offload,
                                 std::array<u8, 12>& header) const;
  /// Takes receive buffers for `bytes`; false (and none taken) if there are too few.
  bool take_buffers(u32 bytes);
  void fill_buffers(base::ConstBytes header, base::ConstBytes frame);

  base::FrameReceiver& receiver_;
  Chain sent_;
  std::vector<Chain> buffers_;  ///< taken for the frame under way
  std::size_t buffer_count_ = 0;
  std::vector<u8> scratch_;  ///< a frame gathered from its parts
  bool refused_ = false;     ///< transmit() said no; on_transmit_ready() is owed
  Statistics statistics_;
};

}  // namespace snowglobe::vm
