// vm/devices/virtio/block.h - a disk: requests of the guest to a BlockBackend (virtio 1.1, 5.2).
#pragma once

#include "vm/backends.h"
#include "vm/devices/virtio/device.h"

#include <string>
#include <vector>

namespace snowglobe::vm {

/// Serves requests in the order in which they come, at once. Machine's thread.
class VirtioBlock final : public VirtioDevice {
 public:
  static constexpr u32 kSectorBytes = 512;

  /// `backend` is not owned. `serial` is cut to 20 bytes.
  VirtioBlock(GuestRam& ram, InterruptLine& line, BlockBackend& backend, std::string serial);

  struct Statistics {
    u64 requests = 0;
    u64 bytes_read = 0;
    u64 bytes_written = 0;
    u64 failures = 0;  ///< answered with an error status
  };
  [[nodiscard]] const Statistics& statistics() const { return statistics_; }

 private:
  /// The last byte of a request's answer (5.2.6).
  enum class Outcome : u8 { kOk = 0, kIoError = 1, kUnsupported = 2 };
  struct Request {
    u32 type = 0;
    u64 sector = 0;
    u32 data_written = 0;  ///< bytes given to the driver, without the status
  };

  void on_notify(std::size_t index) override;
  void on_poll() override { on_notify(0); }

  bool serve_one();
  Outcome execute(Request& request);
  Outcome read(Request& request);
  Outcome write(const Request& request);
  Outcome discard();
  Outcome identify(Request& request);
  [[nodiscard]] bool range_ok(u64 sector, u64 bytes) const;

  BlockBackend& backend_;
  std::string serial_;
  Chain chain_;
  std::vector<u8> bounce_;  ///< for requests whose parts are not whole sectors
  Statistics statistics_;
};

}  // namespace snowglobe::vm
