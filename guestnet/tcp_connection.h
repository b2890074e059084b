// guestnet/tcp_connection.h - one TCP connection: the state machine of RFC 9293 with the timers of
// RFC 6298, the reset and acknowledgement checks of RFC 5961, and scaled windows (RFC 7323, 2).
// docs/guestnet.md says which choices are ours, and why.
#pragma once

#include "base/clock.h"
#include "guestnet/byte_ring.h"
#include "guestnet/network.h"
#include "guestnet/reassembly.h"
#include "guestnet/tcp_segment.h"

#include <cstdint>
#include <optional>

namespace snowglobe::net {

/// RFC 9293, 3.3.2; without LISTEN, since nothing here is opened by the guest.
enum class TcpState : std::uint8_t {
  kClosed,
  kSynSent,
  kSynReceived,
  kEstablished,
  kFinWait1,
  kFinWait2,
  kCloseWait,
  kClosing,
  kLastAck,
  kTimeWait,
};

[[nodiscard]] const char* to_string(TcpState state);

struct FourTuple {
  Ipv4Address local;
  Ipv4Address remote;
  std::uint16_t local_port = 0;
  std::uint16_t remote_port = 0;

  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 is wrong about <=>
  auto operator<=>(const FourTuple&) const = default;
};

/// What the header of a reset has to say.
struct TcpReset {
  SeqNum seq;
  std::optional<SeqNum> ack;
};

/// What a connection needs of its surroundings. Implemented by TcpEndpoint.
class TcpWire {
 public:
  virtual ~TcpWire() = default;
  /// Sends `segment` with `payload` in its place. False: not now; TcpConnection::on_wire_ready()
  /// will follow. More payload than `segment_size` is left to the receiver to be cut.
  virtual bool send_segment(const FourTuple& tuple, const TcpSegment& segment,
                            const ByteRing::Pieces& payload, std::uint16_t segment_size) = 0;
  /// Sends a reset once, as soon as the wire takes it.
  virtual void send_reset(const FourTuple& tuple, const TcpReset& reset) = 0;
  /// Most payload that one call of send_segment() may have.
  [[nodiscard]] virtual std::size_t payload_limit(std::uint16_t segment_size) const = 0;
  /// Whether one more answer to a segment out of place may be sent (RFC 5961, 7: throttled).
  virtual bool may_challenge() = 0;
  [[nodiscard]] virtual base::Nanoseconds now() const = 0;
  /// Calls on_time() at `when`, or earlier.
  virtual void wake_at(base::Nanoseconds when) = 0;
  /// The connection is closed and its user gone: it may be destroyed once the call is over.
  virtual void note_reapable() = 0;
  virtual NetworkStatistics& statistics() = 0;
};

/// Who uses a connection. Calls come on the network's thread; the user may call the connection
/// back, abort() included.
class TcpUser {
 public:
  virtual ~TcpUser() = default;
  virtual void on_established() = 0;
  /// The next bytes of the guest. Returns how many were taken; the rest stays with the connection,
  /// to be had by received() and consume_received(), and closes the window. Called only while
  /// nothing is left.
  virtual std::size_t on_data(base::ConstBytes bytes) = 0;
  /// The guest has ended its direction, and all its bytes were taken.
  virtual void on_end_of_data() = 0;
  /// Acknowledged bytes made room in the send buffer.
  virtual void on_send_room() = 0;
  /// The last call.
  virtual void on_closed(CloseReason reason) = 0;
};

/// RFC 9293, 3.3.1, and what else must survive together with the guest: plain data.
struct TcpControlBlock {
  TcpState state = TcpState::kClosed;
  SeqNum iss;                     ///< initial send sequence number
  SeqNum snd_una;                 ///< oldest unacknowledged
  SeqNum snd_nxt;                 ///< next to send; goes back when sending again
  SeqNum snd_max;                 ///< highest ever sent, plus one
  std::uint32_t snd_wnd = 0;      ///< in octets
  std::uint32_t max_snd_wnd = 0;  ///< largest ever offered
  SeqNum snd_wl1;                 ///< SEG.SEQ of the last window update
  SeqNum snd_wl2;                 ///< SEG.ACK of the last window update
  SeqNum irs;                     ///< initial receive sequence number
  SeqNum rcv_nxt;                 ///< next expected
  SeqNum rcv_edge;                ///< end of the window that we have offered; never goes back
  SeqNum last_ack_sent;
  std::uint16_t mss = 536;  ///< for sending (RFC 9293, 3.7.1)
  bool scaling = false;     ///< both sides have said so (RFC 7323, 2.2)
  std::uint8_t snd_scale = 0;
  std::uint8_t rcv_scale = 0;
  bool fin_wanted = false;  ///< the user has ended our direction
  bool fin_acked = false;
  bool fin_received = false;     ///< in order
  std::optional<SeqNum> fin_at;  ///< where the guest's FIN is, as far as it has been seen
};

/// Thread rule: as Network. Invariants: 1. send and receive buffers stay within TcpSettings (but
/// for what is injected). 2. Payload that is not acknowledged is in the send buffer and nowhere
/// else: a refused segment is made anew.
class TcpConnection {
 public:
  TcpConnection(TcpWire& wire, const TcpSettings& settings, const FourTuple& tuple, SeqNum iss,
                TcpUser& user);
  /// One that goes on from where it was quiet().
  TcpConnection(TcpWire& wire, const TcpSettings& settings, const FourTuple& tuple,
                const TcpControlBlock& block, TcpUser& user);
  TcpConnection(const TcpConnection&) = delete;
  TcpConnection& operator=(const TcpConnection&) = delete;

  // For the user.
  void open();  ///< sends a SYN
  [[nodiscard]] std::size_t send_room() const { return outgoing_.room(); }
  /// Room for up to `wanted` bytes to be sent; then commit_send(), then flush().
  [[nodiscard]] ByteRing::FreePieces prepare_send(std::size_t wanted) {
    return outgoing_.prepare(wanted);
  }
  void commit_send(std::size_t count) { outgoing_.commit(count); }
  void flush();
  /// Ends our direction after what is buffered. Nothing may be sent afterwards.
  void close_send();
  [[nodiscard]] ByteRing::Pieces received() const { return incoming_.peek(0, incoming_.size()); }
  void consume_received(std::size_t count);
  /// Puts bytes into the receive buffer as if the guest had sent them, at most kInjectLimit while
  /// nothing is there.
  void inject(base::ConstBytes bytes);
  /// Another user takes over.
  void set_user(TcpUser& user) { user_ = &user; }
  /// Resets the connection; the user gets no further call.
  void abort();

  // For the wire.
  void on_segment(const TcpSegment& segment);
  void on_time(base::Nanoseconds now);
  void on_wire_ready();
  [[nodiscard]] bool waits_for_wire() const { return blocked_; }
  /// Acknowledges as soon as the wire is ready.
  void owe_ack() { blocked_ = ack_now_ = true; }
  [[nodiscard]] base::Nanoseconds deadline() const;
  [[nodiscard]] bool reapable() const {
    return block_.state == TcpState::kClosed && user_ == nullptr;
  }

  // For everybody.
  static constexpr std::size_t kInjectLimit = std::size_t{64} << 10;
  /// Established, and nothing is under way or held in either direction: the control block is all
  /// that there is.
  [[nodiscard]] bool quiet() const;
  [[nodiscard]] bool owes_ack() const { return ack_now_ || ack_at_ != kNever; }
  /// What tells the guest that this connection is no more; nothing if it does not know of it.
  [[nodiscard]] std::optional<TcpReset> reset() const;
  [[nodiscard]] const FourTuple& tuple() const { return tuple_; }
  [[nodiscard]] TcpState state() const { return block_.state; }
  [[nodiscard]] const TcpControlBlock& control_block() const { return block_; }
  [[nodiscard]] std::size_t unacknowledged() const { return outgoing_.size(); }
  [[nodiscard]] std::size_t undelivered() const { return incoming_.size() + ahead_.size(); }

 private:
  // tcp_connection.cc
  void end(CloseReason reason);
  void enter_time_wait();
  void report_end_of_data();
  void report_finished();
  [[nodiscard]] bool in_handshake() const {
    return block_.state == TcpState::kSynSent || block_.state == TcpState::kSynReceived;
  }

  // tcp_input.cc
  void on_segment_in_syn_sent(const TcpSegment& segment);
  void on_segment_synchronized(const TcpSegment& segment);
  void on_unacceptable(const TcpSegment& segment);
  [[nodiscard]] bool sequence_acceptable(const TcpSegment& segment) const;
  void take_options(const TcpSegment& syn);
  void become_established();
  bool process_ack(const TcpSegment& segment);
  void on_new_ack(SeqNum ack);
  void on_duplicate_ack();
  void update_send_window(const TcpSegment& segment);
  bool advance_after_fin_acked();
  void process_text(const TcpSegment& segment);
  bool deliver(base::ConstBytes bytes);
  void on_fin();
  void challenge();

  // tcp_output.cc
  void output();
  bool send_next();
  bool send_syn();
  bool send_range(std::size_t offset, std::size_t length, bool fin);
  bool transmit(std::uint8_t flags, SeqNum seq, std::size_t offset, std::size_t length);
  void retransmit_first();
  void send_probe();
  void on_retry(base::Nanoseconds now);
  void arm_retry();
  void note_text_received();
  [[nodiscard]] SeqNum window_edge() const;
  [[nodiscard]] std::size_t receive_room() const;
  [[nodiscard]] std::uint32_t ack_threshold() const;
  void measure_round_trip(base::Nanoseconds sample);
  [[nodiscard]] base::Nanoseconds measured_rto() const;
  void schedule();

  TcpWire& wire_;
  const TcpSettings& settings_;
  const FourTuple tuple_;
  TcpUser* user_;
  TcpControlBlock block_;
  ByteRing outgoing_;  // its first byte has the sequence number snd_una (past the SYN)
  ByteRing incoming_;  // in order, not yet taken by the user
  Reassembly ahead_;

  bool blocked_ = false;  // the wire refused our last segment
  bool busy_ = false;     // output() will follow anyhow: what the user asks for goes with it
  bool ack_now_ = false;
  bool end_reported_ = false;  // on_end_of_data() was called
  bool done_ = false;          // both directions ended in order
  int quick_acks_ = 0;  // segments to acknowledge at once: the guest is recovering from a loss

  /// The cable loses nothing, so there is no congestion to control until a loss shows that there
  /// is.
  static constexpr std::uint32_t kNoCongestion = 1u << 30;

  // Sending again: RFC 6298, and fast retransmit after RFC 5681, 3.2.
  base::Nanoseconds rto_;
  base::Nanoseconds smoothed_rtt_{0};
  base::Nanoseconds rtt_variation_{0};
  bool rtt_known_ = false;
  bool timing_ = false;
  SeqNum timed_;
  base::Nanoseconds timed_since_{0};
  int retries_ = 0;
  int duplicate_acks_ = 0;
  bool recovering_ = false;
  SeqNum recover_;
  bool probing_ = false;  // what is in flight was sent beyond the guest's window
  std::uint32_t congestion_window_ = kNoCongestion;

  base::Nanoseconds retry_at_ = kNever;
  base::Nanoseconds ack_at_ = kNever;
  base::Nanoseconds give_up_at_ = kNever;  // of the handshake
  base::Nanoseconds time_wait_until_ = kNever;
};

}  // namespace snowglobe::net
