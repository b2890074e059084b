// vm/devices/virtio/device.h - what all virtio devices have in common: feature negotiation, status,
// queues and the interrupt, as seen from the device. The transport (pci.h) turns registers into
// calls.
#pragma once

#include "vm/bus/interrupt_lines.h"
#include "vm/devices/virtio/queue.h"
#include "vm/memory/ram.h"
#include "vm/types.h"

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

namespace snowglobe::vm {

/// virtio 1.1, 5: device types, as the subsystem id of a legacy function.
enum class VirtioType : u16 { kNetwork = 1, kBlock = 2, kConsole = 3, kEntropy = 4 };

/// virtio 1.1, 2.1
enum VirtioStatus : u8 {
  kStatusAcknowledge = 1,
  kStatusDriver = 2,
  kStatusDriverOk = 4,
  kStatusFeaturesOk = 8,
  kStatusNeedsReset = 64,
  kStatusFailed = 128,
};

// Bits of the ISR status (virtio 1.1, 4.1.4.5).
inline constexpr u8 kQueueInterrupt = 1;
inline constexpr u8 kConfigInterrupt = 2;

// virtio 1.1, 6
inline constexpr u32 kFeatureAnyLayout = u32{1} << 27;
inline constexpr u32 kFeatureIndirect = u32{1} << 28;
inline constexpr u32 kFeatureEventIndex = u32{1} << 29;

/// Why poll() has work to do: kBusy when a turn's work was enough, kStalled when the host did not
/// take all.
enum class VirtioPending : u8 { kNothing, kStalled, kBusy };

struct VirtioState {
  u32 driver_features = 0;
  u8 status = 0;
  u8 interrupt_status = 0;  ///< bit 0: a queue has news; bit 1: the configuration has
  u16 queue_select = 0;
  VirtioPending pending = VirtioPending::kNothing;
  std::vector<QueueState> queues;

  bool operator==(const VirtioState&) const = default;
};

template <class Archive>
void describe(Archive& archive, VirtioState& state) {
  archive(state.driver_features, state.status, state.interrupt_status, state.queue_select,
          state.pending, state.queues);
}

/// Thread rule: machine's thread.
///
/// Invariant: no host span of guest memory is kept over a return to the guest; a device that waits
/// for its host leaves the chain in the queue (Queue::unpop).
class VirtioDevice {
 public:
  virtual ~VirtioDevice() = default;
  VirtioDevice(const VirtioDevice&) = delete;
  VirtioDevice& operator=(const VirtioDevice&) = delete;

  [[nodiscard]] VirtioType type() const { return type_; }
  [[nodiscard]] u32 offered_features() const { return features_; }
  /// The device's own configuration space: a byte at `offset`; zero behind its end.
  [[nodiscard]] u8 read_config(u32 offset) const {
    return offset < config_.size() ? config_[offset] : u8{0};
  }

  // --- what the transport's registers do
  // -----------------------------------------------------------
  [[nodiscard]] u32 driver_features() const { return state_.driver_features; }
  void set_driver_features(u32 features) { state_.driver_features = features & features_; }
  [[nodiscard]] u8 status() const { return state_.status; }
  void set_status(u8 status);
  void set_queue_address(PhysicalAddress address);
  [[nodiscard]] u16 queue_select() const { return state_.queue_select; }
  void select_queue(u16 index) { state_.queue_select = index; }
  /// The selected queue, or null.
  [[nodiscard]] const Queue* selected_queue() const;
  void notify(u16 index);
  /// The ISR register: reading clears it and lowers the line.
  u8 take_interrupt_status();

  /// Goes on with work that was put off or that waits for the host. Called between two slices of
  /// the guest. Returns true if there is work left that waits for nobody: do not sleep, call again.
  bool poll();

  /// Called once when the driver breaks a rule, with what it did.
  void set_broken_listener(std::function<void(const std::string&)> listener) {
    on_broken_ = std::move(listener);
  }
  /// How often the driver broke a rule so that the device stopped until its reset.
  [[nodiscard]] u64 broken_count() const { return broken_count_; }

  /// Not inside a call of the device's backend, which would leave a request half done.
  [[nodiscard]] VirtioState state() const;
  /// True if the device could be in this state.
  [[nodiscard]] bool could_be(const VirtioState& state) const;
  /// Goes on from `state`. Guest memory is left alone, and the backend hears of it in the next
  /// poll() only: by then all of the machine is restored.
  void restore(const VirtioState& state);

 protected:
  VirtioDevice(GuestRam& ram, InterruptLine& line, VirtioType type, u32 features,
               const std::vector<Queue::Limits>& queues);

  [[nodiscard]] bool has_feature(u32 mask) const { return (state_.driver_features & mask) != 0; }
  [[nodiscard]] bool driver_ok() const { return (state_.status & kStatusDriverOk) != 0; }
  [[nodiscard]] Queue& queue(std::size_t index) { return queues_[index]; }
  [[nodiscard]] std::size_t queue_count() const { return queues_.size(); }
  void set_config(std::vector<u8> config) { config_ = std::move(config); }
  /// Tells a driver that is there that the configuration is another one (virtio 1.1, 2.3).
  void config_changed() {
    if (driver_ok()) raise(kConfigInterrupt);
  }
  /// Interrupts the driver if it wants that for what was pushed to queue `index`.
  void signal(std::size_t index);
  /// Stops the device until the driver resets it, if one of its queues is broken or `reason` is
  /// given.
  void check_broken(const char* reason = nullptr);
  /// Bytes that a device moves at most before the guest runs again, so that a stop is never far.
  static constexpr u32 kTurnBytes = 4u << 20;
  /// Has on_poll() called between two slices.
  using Pending = VirtioPending;
  void ask_for_poll(Pending why) { state_.pending = std::max(state_.pending, why); }

  /// The driver made chains available on `index`. Only while the driver is ready.
  virtual void on_notify(std::size_t index) = 0;
  /// Called by poll() after ask_for_poll().
  virtual void on_poll() {}
  /// The driver reset the device: forget everything about it.
  virtual void on_reset() {}
  /// The first poll() after a restore. Nobody knows any more what the backend was told, or waits
  /// for: tell it which ports are open, and to try again.
  virtual void on_restored() {}

 private:
  void raise(u8 cause);
  void reset();

  InterruptLine& line_;
  VirtioType type_;
  u32 features_;
  std::vector<Queue> queues_;
  std::vector<u8> config_;
  VirtioState state_;  ///< without the queues'
  bool restored_ = false;
  u64 broken_count_ = 0;
  std::function<void(const std::string&)> on_broken_;
};

}  // namespace snowglobe::vm
