// vm/devices/virtio/block.h - a disk: requests of the guest to a BlockBackend (virtio 1.1, 5.2).
#pragma once

#include "vm/backends.h"
#include "vm/devices/virtio/device.h"

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace snowglobe::vm {

/// Serves requests in the order in which they come: at once, or as its backend answers if that is
/// asynchronous. Machine's thread.
///
/// Of a request under way only the number of its chain is kept, and what its answer needs; the
/// chain is looked at again when the answer comes. Its state, as all devices', is one without
/// requests under way: drain() comes ahead of a capture or a restore.
class VirtioBlock final : public VirtioDevice {
 public:
  static constexpr u32 kSectorBytes = 512;

  /// `backend` is not owned. `serial` is cut to 20 bytes.
  /// `wake`: called on any thread when an asynchronous backend has completions: the machine's
  /// thread is to call take_completions() soon.
  VirtioBlock(GuestRam& ram, InterruptLine& line, BlockBackend& backend, std::string serial,
              std::function<void()> wake = {});
  ~VirtioBlock() override;

  /// `wake` is not called any more once this has returned.
  void let_sleep();
  /// Gives the driver the answers that have come. Between two slices of the guest.
  void take_completions() {
    if (async_ != nullptr && async_->has_completions()) give_answers();
  }
  /// Returns when no request is under way and the driver has all answers. False: `limit` passed.
  [[nodiscard]] bool drain(base::Nanoseconds limit);

  [[nodiscard]] u64 capacity() const { return backend_.capacity(); }
  /// The backend has grown: the driver is told of its capacity (virtio 1.1, 5.2.4).
  void capacity_changed();
  /// The state just restored is of a disk of another capacity: its driver is told in the next
  /// poll().
  void capacity_was_other() { tell_capacity_ = true; }

  struct Statistics {
    u64 requests = 0;
    u64 bytes_read = 0;
    u64 bytes_written = 0;
    u64 failures = 0;  ///< answered with an error status
    u64 waited = 0;    ///< not answered at once
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

  struct Range {
    u64 offset = 0, length = 0;
  };
  /// A request that the backend answers later.
  struct Flight {
    u16 head = 0;
    u32 queue = 0;       ///< Queue::generation()
    u32 read_bytes = 0;  ///< that it is to read; 0: it does not
    u64 cost = 0;        ///< of the bytes that may be under way
    u32 parts = 0;       ///< of its discards, that have not ended
    bool failed = false;
  };

  void on_notify(std::size_t index) override;
  void on_poll() override { on_notify(0); }
  void on_reset() override { forget_flights(); }
  void on_restored() override;

  bool serve_one();
  void answer(u8& status, u32 data_written, Outcome outcome);
  u8* take_status();
  Outcome execute(Request& request);
  Outcome read(Request& request);
  Outcome write(const Request& request);
  Outcome discard();
  Outcome identify(Request& request);
  [[nodiscard]] bool range_ok(u64 sector, u64 bytes) const;
  Outcome read_ranges();

  // --- asynchronous (block_async.cc)
  [[nodiscard]] bool has_room() const;
  std::optional<Outcome> start(Request& request);
  std::optional<Outcome> start_discard(Flight& flight);
  std::optional<Outcome> settle(BlockAnswer answer, const Flight& flight);
  void cut_header();
  void give_answers();
  void land(const Flight& flight, base::ConstBytes data);
  void forget_flights();

  BlockBackend& backend_;
  AsyncBlock* const async_;  ///< null: the backend answers at once
  std::string serial_;
  Chain chain_;
  std::vector<u8> bounce_;                   ///< for requests whose parts are not whole sectors
  std::vector<Range> ranges_;                ///< of the request at hand
  std::unordered_map<u64, Flight> flights_;  ///< by ticket
  u64 next_ticket_ = 1;
  u64 cost_under_way_ = 0;
  bool tell_capacity_ = false;
  Statistics statistics_;
};

}  // namespace snowglobe::vm
