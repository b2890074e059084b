// vm/machine.h - the whole emulated PC: processor, memory, devices and boot, with a thread to run
// it.
#pragma once

#include "base/clock.h"
#include "base/error.h"
#include "base/frame.h"
#include "base/log.h"
#include "base/random.h"
#include "vm/backends.h"
#include "vm/types.h"

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace snowglobe::vm {

class MachineCore;
struct CodeImage;
class RamImage;
struct TranslatorOptions;

/// A machine at one instant between two instructions: processor, clock, devices and RAM. Not the
/// disks, which belong to whoever gave their backends, and not the far end of the network cable.
/// Never changes; copies share the RAM.
struct MachineImage {
  std::vector<u8> state;  ///< an archive of vm/machine_state.h
  std::shared_ptr<const RamImage> memory;
  /// Pages with contents that were written since the capture before: a machine that begins here
  /// will write them again. No more than a hint.
  std::vector<u32> hot_pages;
};

struct DiskConfig {
  BlockBackend* backend = nullptr;  ///< not owned; outlives the machine
  std::string serial;               ///< at most 20 bytes (VIRTIO_BLK_T_GET_ID)
};

struct PortConfig {
  std::string name;                ///< as in /sys/class/virtio-ports/*/name
  PortBackend* backend = nullptr;  ///< not owned
};

/// Who runs the guest's instructions.
enum class Executor : u8 {
  kAutomatic,   ///< the translator where the host lets it run, else the interpreter
  kTranslator,  ///< create() fails where it can not run
  kInterpreter,
};

struct MachineConfig {
  u64 memory_bytes = 128u << 20;
  base::ConstBytes kernel;  ///< ELF image; needed only during create()
  /// Not null: the machine goes on from here, and `kernel` and `command_line` are not looked at.
  /// Memory, disks, card and ports must be as they were; disks may be larger. Not owned, needed
  /// only during create().
  const MachineImage* start_from = nullptr;
  std::string command_line;
  std::vector<DiskConfig> disks;  ///< vda, vdb, ...
  std::array<u8, 6> mac{0x02, 0x53, 0x47, 0x00, 0x00, 0x01};
  base::FrameReceiver* network = nullptr;  ///< not owned; null: no network card
  std::vector<PortConfig> ports;           ///< virtio console ports 1, 2, ...
  base::Clock* clock = nullptr;            ///< not owned
  base::RandomSource* random = nullptr;    ///< not owned
  EventLoop* loop = nullptr;               ///< not owned
  base::LogSink log;
  std::function<void(base::ConstBytes)> serial_output;  ///< bytes that the guest wrote to ttyS0
  /// Deterministic run: the guest's clock is its instruction count, HLT skips to the next timer.
  bool time_by_instructions = false;  ///< on the interpreter, whatever `executor` says
  Executor executor = Executor::kAutomatic;
  const TranslatorOptions* translator = nullptr;  ///< not owned; needed only during create()
};

/// Why the machine is not running (any more).
enum class MachineEnd : u8 {
  kStopped,   ///< stop() was called
  kShutDown,  ///< the guest switched itself off
  kReset,     ///< triple fault or reset request: a panic, as far as we are concerned
  kDamaged,   ///< the image that it started from has a page that is not what was stored
};

struct MachineStatistics {
  bool translated = false;      ///< the translator runs it
  std::string why_interpreted;  ///< for people, if kAutomatic came out as the interpreter
  u64 instructions = 0;  ///< retired; with the translator, those that it left to the interpreter
  u64 blocks_decoded = 0;
  u64 interrupts = 0;
  u64 idle_nanoseconds = 0;

  // Of the translator.
  u64 blocks_translated = 0, code_bytes = 0, code_flushes = 0;
  u64 exits_indirect = 0;  ///< jumps that missed the jump table, and safepoints of entries
  u64 exits_link = 0;      ///< direct jumps before they were linked
  u64 exits_insn = 0;      ///< instructions run by the interpreter's handlers
  u64 exits_vectors = 0;   ///< loads of x87 and SSE state
  u64 exits_poll = 0;      ///< safepoints of loops
  u64 faults = 0;          ///< host faults of translated code
  u64 guest_faults = 0;    ///< those that became page faults of the guest
  u64 emulated_accesses = 0;
  u64 interpreted_blocks = 0, interpreted_steps = 0;
  u64 mappings = 0;  ///< host mappings that its windows take
  u64 window_fills = 0, window_drops = 0, window_evictions = 0;
};

/// Thread rule: create, start, stop, pause, resume and statistics from any thread (one at a time is
/// not required); network() and send_to_port() on the machine's thread only (from a backend, or
/// posted to the loop).
class Machine {
 public:
  /// Builds the machine with the kernel loaded, not running.
  /// Errors: kInvalidArgument (memory too small for the kernel), kCorrupt (not a usable ELF image).
  static base::Result<std::unique_ptr<Machine>> create(const MachineConfig& config);
  /// Stops the machine. After fork() the child's copy does nothing but leave.
  virtual ~Machine() = default;

  /// Starts the machine's thread; `on_end` is called once on that thread when it ends by itself or
  /// by stop(). A machine is started at most once.
  virtual base::Result<void> start(std::function<void(MachineEnd)> on_end) = 0;
  /// Ends the run within 10 ms, whatever the guest does, and joins the thread. Idempotent.
  virtual void stop() = 0;
  /// Freezes the guest between two instructions: its clock stands still; the loop goes on being
  /// polled.
  virtual void pause() = 0;
  virtual void resume() = 0;

  /// Towards the guest's network card; null if there is none.
  virtual base::FrameTransmitter* network() = 0;
  /// Sends bytes to console port `index` (of MachineConfig::ports). Returns how many were taken.
  virtual std::size_t send_to_port(std::size_t index, base::ConstBytes data) = 0;
  /// True while the guest's driver holds the port open.
  virtual bool port_open(std::size_t index) const = 0;

  /// Disks' backends have a larger capacity than before: the guest is told. On the machine's
  /// thread, or while it is paused or was not started.
  virtual void disks_grew() = 0;

  [[nodiscard]] virtual MachineStatistics statistics() const = 0;

  /// On the machine's thread (posted to the loop), or while it is paused or was not started: the
  /// machine as it is. What it writes from then on goes elsewhere; takes about a millisecond.
  /// Errors: kResourceExhausted.
  virtual base::Result<MachineImage> capture() = 0;
  /// Likewise: puts the machine back. The same shape of machine is needed, but that its disks may
  /// be larger, which the guest is told; the executor may be the other one. Errors: kCorrupt,
  /// kInvalidArgument (another shape), kResourceExhausted; nothing has changed then.
  virtual base::Result<void> restore(const MachineImage& image) = 0;

  // Translated code, for other machines of the process; null where nothing is translated. On the
  // machine's thread, or while it is paused:
  /// All there is now.
  virtual std::shared_ptr<const CodeImage> code() = 0;
  /// Of its beginning, if it is worth it: see TranslatorOptions::keep_bytes.
  virtual std::shared_ptr<const CodeImage> new_code() = 0;
  /// Takes it over as far as both have the same code. This machine has not been started.
  virtual void learn_from(const std::shared_ptr<const CodeImage>& code) = 0;

  /// What is inside, for developers' tools: on the machine's thread, or while it is paused.
  /// Null where there is no such thing.
  virtual MachineCore* core() { return nullptr; }
};

}  // namespace snowglobe::vm
