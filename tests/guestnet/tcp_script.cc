// tests/guestnet/tcp_script.cc - the interpreter of TCP scripts.
#include "tests/guestnet/tcp_script.h"

#include "guestnet/packet.h"
#include "guestnet/tcp_endpoint.h"
#include "tests/guestnet/frames.h"

#include <gtest/gtest.h>
#include <map>
#include <sstream>

namespace snowglobe::net {
namespace {

constexpr std::uint16_t kGuestPort = 5432;

/// Hands out the initial sequence number, among zeros.
class ScriptedRandom final : public base::RandomSource {
 public:
  void fill(base::Bytes out) override {
    std::fill(out.begin(), out.end(), std::uint8_t{0});
    base::store_le(out.data(), iss);
  }
  std::uint32_t iss = 1'000'000;
};

/// Byte `offset` of the stream in one of the directions.
std::uint8_t stream_byte(std::int64_t offset, int direction) {
  return static_cast<std::uint8_t>(offset * 7 + offset / 251 + direction * 101);
}

Octets stream_bytes(std::int64_t begin, std::int64_t end, int direction) {
  Octets bytes;
  for (std::int64_t at = begin; at < end; ++at)
    bytes.push_back(stream_byte(at, direction));
  return bytes;
}

constexpr int kToGuest = 0;
constexpr int kFromGuest = 1;

/// Numbers and words that follow the verb of a line.
struct Line {
  explicit Line(const std::string& text) {
    std::istringstream in(text.substr(0, text.find('#')));
    for (std::string word; in >> word;)
      words.push_back(word);
  }
  [[nodiscard]] std::string word(std::size_t index) const {
    return index < words.size() ? words[index] : "";
  }
  [[nodiscard]] bool has(const std::string& name) const {
    return std::find(words.begin(), words.end(), name) != words.end();
  }
  [[nodiscard]] std::optional<std::int64_t> number(const std::string& name) const {
    const auto found = std::find(words.begin(), words.end(), name);
    if (found == words.end() || found + 1 == words.end()) return std::nullopt;
    return std::stoll(*(found + 1));
  }
  std::vector<std::string> words;
};

std::uint8_t flags_of(const std::string& letters) {
  const std::map<char, std::uint8_t> bits{{'F', 1}, {'S', 2},  {'R', 4},
                                          {'P', 8}, {'A', 16}, {'.', 0}};
  std::uint8_t flags = 0;
  for (const char letter : letters)
    flags |= bits.at(letter);
  return flags;
}

std::string letters_of(std::uint8_t flags) {
  std::string letters;
  for (int bit = 0; bit < 5; ++bit) {
    if ((flags >> bit & 1) != 0) letters += "FSRPA"[bit];
  }
  return letters;
}

class ScriptedUser final : public TcpUser {
 public:
  void on_established() override { established = true; }
  std::size_t on_data(base::ConstBytes bytes) override {
    const std::size_t count = std::min(bytes.size(), budget);
    budget -= count;
    note(bytes.first(count));
    return count;
  }
  void on_end_of_data() override { ended = true; }
  void on_send_room() override {}
  void on_closed(CloseReason why) override { reason = why; }

  void note(base::ConstBytes bytes) {
    for (const std::uint8_t byte : bytes) {
      if (byte != stream_byte(static_cast<std::int64_t>(got), kFromGuest)) damaged = true;
      ++got;
    }
  }

  bool established = false;
  bool ended = false;
  bool damaged = false;
  std::size_t got = 0;
  std::size_t budget = SIZE_MAX;
  std::optional<CloseReason> reason;
};

class Script {
 public:
  void run(const std::string& text) {
    std::istringstream lines(text);
    int number = 0;
    for (std::string line; std::getline(lines, line) && !testing::Test::HasFailure();) {
      SCOPED_TRACE("line " + std::to_string(++number) + ": " + line);
      const Line parsed(line);
      if (!parsed.words.empty()) execute(parsed);
    }
    SCOPED_TRACE("at the end of the script");
    expect_quiet();
    EXPECT_FALSE(user_.damaged) << "the user got wrong bytes";
  }

 private:
  void execute(const Line& line) {
    const std::string verb = line.word(0);
    if (verb == ">") return expect(line);
    expect_quiet();
    if (verb[0] == '+') return advance(verb.substr(1));
    if (verb == "<") return inject(line);
    if (verb == "set") return set(line.word(1), std::stoll(line.word(2)));
    if (verb == "connect") return connect();
    if (verb == "open") return open(line);
    if (verb == "write") return write(std::stoul(line.word(1)));
    if (verb == "end") return connection_->close_send();
    if (verb == "abort") return connection_->abort();
    if (verb == "read") return read(std::stoul(line.word(1)));
    if (verb == "take") return void(user_.budget = std::stoul(line.word(1)));
    if (verb == "refuse") return void(cable_.refuse = true);
    if (verb == "ready") return ready();
    check(verb, line);
  }

  void check(const std::string& verb, const Line& line) {
    if (verb == "state") {
      EXPECT_EQ(to_string(connection_->state()), line.word(1));
    } else if (verb == "got") {
      EXPECT_EQ(user_.got, std::stoul(line.word(1)));
    } else if (verb == "ended") {
      EXPECT_TRUE(user_.ended);
    } else if (verb == "closed") {
      static const std::map<std::string, CloseReason> kReasons{
          {"finished", CloseReason::kFinished},
          {"refused", CloseReason::kGuestRefused},
          {"reset", CloseReason::kGuestReset},
          {"silent", CloseReason::kGuestSilent}};
      ASSERT_TRUE(user_.reason.has_value()) << "not closed";
      EXPECT_EQ(*user_.reason, kReasons.at(line.word(1)));
    } else if (verb == "retransmissions") {
      EXPECT_EQ(statistics_.tcp_retransmissions, std::stoul(line.word(1)));
    } else {
      FAIL() << "no such verb";
    }
  }

  void set(const std::string& name, std::int64_t value) {
    const auto number = static_cast<std::size_t>(value);
    if (name == "iss")
      random_.iss = static_cast<std::uint32_t>(value);
    else if (name == "irs")
      irs_ = static_cast<std::uint32_t>(value);
    else if (name == "mss")
      config_.tcp.mss = static_cast<std::uint16_t>(value);
    else if (name == "send_buffer")
      config_.tcp.send_buffer = number;
    else if (name == "receive_buffer")
      config_.tcp.receive_buffer = number;
    else if (name == "max_retransmissions")
      config_.tcp.max_retransmissions = static_cast<int>(value);
    else if (name == "checksum_offload")
      config_.checksum_offload = value != 0;
    else if (name == "segmentation_offload")
      config_.segmentation_offload = value != 0;
    else
      FAIL() << "no such setting";
  }

  void connect() {
    link_.attach(&cable_);
    arp_.learn(kGuestMac);
    endpoint_.emplace(TcpEndpoint::Environment{link_, arp_, clock_, random_, alarm_, statistics_},
                      config_);
    alarm_.set_handler([this] { endpoint_->on_alarm(); });
    connection_ = endpoint_->create(config_.addresses.pipe, kGuestPort, user_);
    tuple_ = connection_->tuple();
    connection_->open();
  }

  void open(const Line& line) {
    connect();
    expect(Line("> S 0:0"));
    const auto with = [&](const char* name, std::int64_t usual) {
      return std::string(" ") + name + ' ' + std::to_string(line.number(name).value_or(usual));
    };
    std::string answer = "< SA 0:0 ack 1" + with("win", 65535) + with("mss", 1460);
    if (line.number("ws")) answer += with("ws", 0);
    inject(Line(answer));
    expect(Line("> A 1:1 ack 1"));
  }

  void write(std::size_t count) {
    const Octets bytes =
        stream_bytes(written_, written_ + static_cast<std::int64_t>(count), kToGuest);
    std::size_t done = 0;
    for (const base::Bytes piece : connection_->prepare_send(count)) {
      std::copy_n(bytes.begin() + static_cast<long>(done), piece.size(), piece.begin());
      done += piece.size();
    }
    ASSERT_EQ(done, count) << "no room in the send buffer";
    connection_->commit_send(done);
    written_ += static_cast<std::int64_t>(count);
    connection_->flush();
  }

  void read(std::size_t count) {
    std::size_t left = count;
    for (const base::ConstBytes piece : connection_->received()) {
      const std::size_t part = std::min(left, piece.size());
      user_.note(piece.first(part));
      left -= part;
    }
    ASSERT_EQ(left, 0u) << "not that many bytes are held";
    connection_->consume_received(count);
  }

  void ready() {
    cable_.refuse = false;
    link_.on_ready();
    endpoint_->on_ready();
  }

  void advance(const std::string& text) {
    std::size_t end = 0;
    const double amount = std::stod(text, &end);
    const double unit = text.substr(end) == "s" ? 1e9 : 1e6;
    alarm_.advance(clock_, base::Nanoseconds(static_cast<std::int64_t>(amount * unit)));
  }

  void inject(const Line& line) {
    PlainSegment segment;
    segment.from_port = kGuestPort;
    segment.to_port = tuple_.local_port;
    segment.flags = flags_of(line.word(1));
    std::int64_t begin = 0;
    std::int64_t end = 0;
    char colon = 0;
    std::istringstream(line.word(2)) >> begin >> colon >> end;
    segment.seq = irs_ + static_cast<std::uint32_t>(begin);
    segment.payload = stream_bytes(begin - 1, end - 1, kFromGuest);
    if (const auto ack = line.number("ack")) {
      segment.ack = random_.iss + static_cast<std::uint32_t>(*ack);
    }
    segment.window = static_cast<std::uint16_t>(line.number("win").value_or(65535));
    if (const auto mss = line.number("mss")) {
      segment.options = segment.options + Octets{2, 4} + be16(static_cast<unsigned>(*mss));
    }
    if (const auto scale = line.number("ws")) {
      segment.options = segment.options + Octets{1, 3, 3, static_cast<std::uint8_t>(*scale)};
    }
    if (line.has("opt")) {
      const auto at = std::find(line.words.begin(), line.words.end(), "opt") + 1;
      for (std::size_t i = 0; i + 1 < at->size(); i += 2) {
        segment.options.push_back(
            static_cast<std::uint8_t>(std::stoul(at->substr(i, 2), nullptr, 16)));
      }
    }
    deliver(segment, line);
  }

  void deliver(const PlainSegment& segment, const Line& line) {
    Octets frame = guest_tcp_frame(config_.addresses, tuple_.local, segment);
    if (line.has("bad")) frame.at(50) ^= 1;  // within the TCP checksum
    base::FrameOffload offload;
    if (line.has("tso")) {
      offload.checksum_missing = true;
      offload.checksum_start = 34;
      offload.checksum_offset = 16;
      offload.segmentation = base::FrameOffload::Segmentation::kTcp4;
      offload.segment_size = 1460;
      frame.at(50) ^= 0x55;  // what is there does not matter
    }
    const auto packet = parse_ipv4(base::ConstBytes(frame).subspan(14));
    ASSERT_TRUE(packet.has_value());
    EXPECT_EQ(endpoint_->on_packet(*packet, offload), !line.has("bad"));
  }

  void expect(const Line& line) {
    const auto sent = cable_.take();
    ASSERT_TRUE(sent.has_value()) << "nothing was sent";
    const auto segment = read_our_tcp(config_.addresses, sent->frame, sent->offload);
    ASSERT_TRUE(segment.has_value()) << "not a TCP segment";
    SCOPED_TRACE("sent: " + describe(*segment));
    EXPECT_EQ(letters_of(segment->flags), letters_of(flags_of(line.word(1))));
    std::int64_t begin = 0;
    std::int64_t end = 0;
    char colon = 0;
    std::istringstream(line.word(2)) >> begin >> colon >> end;
    EXPECT_EQ(segment->seq, random_.iss + static_cast<std::uint32_t>(begin));
    EXPECT_EQ(segment->payload.size(), static_cast<std::size_t>(end - begin));
    EXPECT_TRUE(segment->payload == stream_bytes(begin - 1, end - 1, kToGuest)) << "wrong data";
    if (const auto ack = line.number("ack")) {
      EXPECT_EQ(segment->ack, irs_ + static_cast<std::uint32_t>(*ack));
    }
    if (const auto win = line.number("win")) {
      EXPECT_EQ(segment->window, *win);
    }
    expect_option(*segment, line, "mss", 2);
    expect_option(*segment, line, "ws", 3);
    if (const auto size = line.number("seg")) {
      EXPECT_EQ(sent->offload.segment_size, *size);
    }
  }

  void expect_option(const PlainSegment& segment, const Line& line, const char* name,
                     std::uint8_t kind) {
    if (const auto value = line.number(name)) {
      EXPECT_EQ(tcp_option(segment, kind), static_cast<std::uint32_t>(*value)) << name;
    }
  }

  void expect_quiet() {
    const auto sent = cable_.take();
    if (!sent.has_value()) return;
    const auto segment = read_our_tcp(config_.addresses, sent->frame, sent->offload);
    ADD_FAILURE() << "not expected: " << (segment ? describe(*segment) : "a frame");
  }

  std::string describe(const PlainSegment& segment) const {
    const auto begin = static_cast<std::int32_t>(segment.seq - random_.iss);
    return letters_of(segment.flags) + ' ' + std::to_string(begin) + ':' +
           std::to_string(begin + static_cast<std::int64_t>(segment.payload.size())) + " ack " +
           std::to_string(static_cast<std::int32_t>(segment.ack - irs_)) + " win " +
           std::to_string(segment.window);
  }

  base::ManualClock clock_;
  ScriptedRandom random_;
  ManualAlarm alarm_;
  FakeCable cable_;
  NetworkStatistics statistics_;
  NetworkConfig config_;
  Link link_{statistics_, nullptr};
  Arp arp_{link_, config_.addresses};
  std::optional<TcpEndpoint> endpoint_;
  ScriptedUser user_;
  TcpConnection* connection_ = nullptr;  // dangles when it has ended and another event came
  FourTuple tuple_;
  std::uint32_t irs_ = 5'000'000;
  std::int64_t written_ = 0;
};

}  // namespace

void run_tcp_script(const std::string& script) {
  Script().run(script);
}

}  // namespace snowglobe::net
