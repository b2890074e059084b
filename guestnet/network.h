// guestnet/network.h - the other end of the guest's network cable, as one object.
// Frames go in and out by base/frame.h; byte streams go in and out by sockets (guestnet/pipe.h).
// The map of this folder is in docs/guestnet.md.
#pragma once

#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/frame.h"
#include "base/log.h"
#include "base/random.h"
#include "guestnet/addresses.h"
#include "guestnet/alarm.h"
#include "guestnet/stream_info.h"

#include <asio/generic/stream_protocol.hpp>
#include <asio/io_context.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace snowglobe::net {

/// Limits and times of every TCP connection. The worst case of memory is
/// max_streams * (send_buffer + receive_buffer + out-of-order data of at most receive_buffer).
struct TcpSettings {
  static constexpr std::size_t kBuffer = std::size_t{256} << 10;
  static constexpr std::size_t kSmallestBuffer = 4096;
  static constexpr std::size_t kLargestBuffer = std::size_t{64} << 20;
  /// A tiny MSS would only make us send countless segments.
  static constexpr std::uint16_t kSmallestMss = 64;

  std::size_t send_buffer = kBuffer;     ///< bytes towards the guest; then the socket is not read
  std::size_t receive_buffer = kBuffer;  ///< bytes towards the client; the window closes with it
  std::uint16_t mss = kMtu - 40;         ///< RFC 9293, 3.7.1
  base::Nanoseconds delayed_ack = std::chrono::milliseconds(40);
  base::Nanoseconds connect_timeout = std::chrono::seconds(20);
  base::Nanoseconds time_wait = std::chrono::seconds(1);
  base::Nanoseconds initial_rto = std::chrono::seconds(1);  ///< RFC 6298, 2.1
  base::Nanoseconds min_rto =
      std::chrono::milliseconds(200);  ///< the cable has no queues: below 1 s
  base::Nanoseconds max_rto = std::chrono::seconds(60);
  int max_retransmissions = 15;  ///< of one segment in a row, then the guest counts as silent
};

struct NetworkConfig {
  asio::io_context* loop = nullptr;  ///< not owned; run by the machine's thread
  base::Clock* clock = nullptr;      ///< not owned; may stand still while the machine does
  /// Not owned; sequence numbers, ports, names, stream ids. Two networks with the same sequence of
  /// numbers would take each other's saved streams for their own.
  base::RandomSource* random = nullptr;
  Alarm* alarm = nullptr;           ///< not owned; null: an AsioAlarm on `loop`
  base::LogSink log;                ///< may be empty
  StreamObserver on_stream_closed;  ///< may be empty
  AddressPlan addresses;
  TcpSettings tcp;
  std::size_t max_streams = 256;
  bool checksum_offload = true;      ///< the guest's driver accepts frames with checksum_missing
  bool segmentation_offload = true;  ///< ... and with Segmentation::kTcp4
  std::string capture_file;          ///< pcap of all frames (for tshark); empty: none
};

struct NetworkStatistics {
  std::uint64_t frames_from_guest = 0;
  std::uint64_t frames_to_guest = 0;
  std::uint64_t bytes_from_guest = 0;  ///< of frames
  std::uint64_t bytes_to_guest = 0;
  std::uint64_t frames_refused = 0;  ///< by the transmitter: tried again later
  std::uint64_t frames_dropped = 0;  ///< ours, because too many small ones waited
  std::uint64_t malformed = 0;       ///< guest frames that do not check out
  std::uint64_t unreachable = 0;     ///< guest packets to places that do not exist
  std::uint64_t tcp_retransmissions = 0;
  std::uint64_t tcp_duplicates = 0;  ///< guest segments without anything new
  std::uint64_t tcp_out_of_order = 0;
  std::uint64_t tcp_resets_sent = 0;
  std::uint64_t streams_opened = 0;
  std::uint64_t streams_refused = 0;  ///< by max_streams
  std::uint64_t held_dropped = 0;     ///< guest frames beyond what is kept during hold(true)
};

/// Where an accepted client is taken.
struct StreamTarget {
  Ipv4Address source;  ///< one of AddressPlan's own addresses
  std::uint16_t guest_port = 0;
  ListenerId listener = 0;
};

/// What becomes of the streams of a saved state, by the ids that they had when it was saved. A
/// saved stream that is not named here has its guest end reset as soon as frames flow.
struct RestorePlan {
  /// The stream with the same id is open now, its own bytes at rest as well: its socket stays, and
  /// goes on with the connection as it was saved.
  std::vector<StreamId> keep = {};
  /// Nobody is there for it yet: becomes a waiting stream, for adopt().
  std::vector<StreamId> wait = {};
  /// What present streams that are not kept are told before they are closed (see close_stream()).
  std::map<StreamId, std::vector<std::uint8_t>> last_words = {};
  /// The guest has another hardware address before anything flows: what the state has is not asked.
  std::optional<MacAddress> guest_mac = {};
};

/// Thread rule: everything on the one thread that runs `loop` (from elsewhere: asio::post to it),
/// or on any thread while nobody runs the loop. The io_context outlives the network.
///
/// Invariants: 1. The guest reaches nothing but our own two addresses, and there only ping and
/// DHCP; no packet of its leaves the process. 2. Memory is bounded, whatever the guest sends or
/// does not take.
class Network final : public base::FrameReceiver {
 public:
  /// Errors: kInvalidArgument (loop, clock or random missing; senseless limits), kIo (capture
  /// file).
  static base::Result<std::unique_ptr<Network>> create(const NetworkConfig& config);
  /// Drops everything without a word to anybody (see shutdown()).
  ~Network() override;
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  /// Plugs the cable in; null unplugs it. Until then everything towards the guest waits.
  void attach(base::FrameTransmitter* transmitter);

  void on_frame(base::ConstBytes frame, const base::FrameOffload& offload) override;
  void on_transmit_ready() override;

  /// Joins a connected socket to a guest port. Whatever goes wrong later closes the socket.
  /// Errors: kResourceExhausted (max_streams), kUnavailable (after shutdown()).
  base::Result<StreamId> open_stream(asio::generic::stream_protocol::socket client,
                                     const StreamTarget& target);
  [[nodiscard]] std::vector<StreamInfo> streams() const;
  [[nodiscard]] std::optional<StreamInfo> stream(StreamId id) const;
  /// Ends a stream at once: the guest gets a reset, the client `last_words` (only if nothing else
  /// is under way to it, since they would land inside of a message) and the end of its stream.
  /// False if there is no such stream.
  bool close_stream(StreamId id, base::ConstBytes last_words = {});
  /// Writes to the client as if the guest had. False, and nothing is written, unless the stream is
  /// open and nothing of the guest's is under way to the client.
  bool inject_to_client(StreamId id, base::ConstBytes bytes);

  /// What must roll back together with the guest, as bytes: the connections, as far as they could
  /// go on, what the others need to be reset, and the guest's address. Changes nothing, sends
  /// nothing; the machine stands still meanwhile. docs/guestnet.md, "Saved and restored".
  [[nodiscard]] std::vector<std::uint8_t> save() const;
  /// The streams of a saved state. Those that are `quiet` may be kept or wait. Errors: kCorrupt.
  static base::Result<std::vector<StreamInfo>> saved_streams(base::ConstBytes state);
  /// Whether restore() would do it; after that, without anything in between, it does.
  [[nodiscard]] base::Result<void> check_restore(base::ConstBytes state,
                                                 const RestorePlan& plan) const;
  /// Puts our end back to where it was at save(), of this network or another; whole or not at all.
  /// All present streams that are not kept end at once with CloseReason::kRolledBack, waiting ones
  /// without a word, and the guest of before hears nothing of it. Nothing flows before hold(false).
  /// Not to be called out of a call of the network's (observer, transmitter).
  /// Errors: kCorrupt (the bytes), kUnsupported (a cable with other addresses or smaller buffers),
  /// kInvalidArgument (the plan), kUnavailable (after shutdown()).
  base::Result<void> restore(base::ConstBytes state, const RestorePlan& plan);

  /// True: no frame passes in either direction until hold(false). Clients may come and write
  /// meanwhile; the guest's frames wait as far as there is room for them.
  void hold(bool held);
  [[nodiscard]] bool held() const;

  /// Restored streams without a client, by their saved ids. A guest that sends something or hangs
  /// up on such a stream has it reset and taken out of this list.
  [[nodiscard]] std::vector<StreamInfo> waiting() const;
  /// Joins a connected socket to a waiting stream, which becomes a stream with a new id.
  /// Errors: kNotFound (not waiting any more), kUnavailable (after shutdown()).
  base::Result<StreamId> adopt(StreamId saved, asio::generic::stream_protocol::socket client);
  /// Resets the guest's end of a waiting stream. False if there is no such stream.
  bool drop_waiting(StreamId saved);

  /// Closes all listeners and streams, resets their guest ends if the cable takes it, stops the
  /// timer. Never blocks; idempotent. Afterwards frames are ignored.
  void shutdown();

  [[nodiscard]] const NetworkStatistics& statistics() const;
  [[nodiscard]] const AddressPlan& addresses() const;

 private:
  friend class Listener;
  struct Parts;

  Network() = default;

  std::shared_ptr<Parts> parts_;  // listeners look at it weakly
};

}  // namespace snowglobe::net
