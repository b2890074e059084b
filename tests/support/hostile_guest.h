// tests/support/hostile_guest.h - a hostile guest against all devices: arbitrary port accesses,
// rings and descriptors, mixed with what the host does meanwhile, and with being saved and
// restored.
#pragma once

#include "base/check.h"
#include "tests/fuzz/input.h"
#include "tests/support/load_state.h"
#include "tests/support/mock_driver.h"
#include "vm/boot/linux.h"
#include "vm/machine_board.h"

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

namespace snowglobe::vm::test {

/// A small disk whose writes fail, or are answered later, if the input says so.
class FailingDisk final : public BlockBackend, public AsyncBlock {
 public:
  FailingDisk(bool is_read_only, bool is_asynchronous)
      : bytes_(64 << 10), read_only_(is_read_only), asynchronous_(is_asynchronous) {}
  u64 capacity() const override { return bytes_.size(); }
  bool read_only() const override { return read_only_; }
  base::Result<void> read(u64 offset, base::Bytes out) override {
    check(offset, out.size());
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset), out.size(), out.begin());
    return {};
  }
  base::Result<void> write(u64 offset, base::ConstBytes from) override {
    check(offset, from.size());
    if (failing) return base::Error{base::ErrorCode::kIo, "told to fail"};
    std::copy(from.begin(), from.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
    return {};
  }
  base::Result<void> flush() override { return {}; }
  base::Result<void> discard(u64 offset, u64 length) override {
    check(offset, length);
    return {};
  }

  AsyncBlock* asynchronous() override { return asynchronous_ ? this : nullptr; }
  void attach(std::function<void()> wake) override {
    wake_ = std::move(wake);
    under_way_.clear();
  }
  BlockAnswer submit_read(u64 ticket, u64 offset, std::span<const base::Bytes> into) override {
    u64 length = 0;
    for (const base::Bytes part : into) {
      std::fill(part.begin(), part.end(), u8{1});
      length += part.size();
    }
    check(offset, length);
    return answer(ticket, length);
  }
  BlockAnswer submit_write(u64 ticket, u64 offset,
                           std::span<const base::ConstBytes> from) override {
    u64 length = 0;
    for (const base::ConstBytes part : from)
      length += part.size();
    check(offset, length);
    return answer(ticket, 0);
  }
  BlockAnswer submit_flush(u64 ticket) override { return answer(ticket, 0); }
  BlockAnswer submit_discard(u64 ticket, u64 offset, u64 length) override {
    check(offset, length);
    return answer(ticket, 0);
  }
  [[nodiscard]] bool has_completions() const noexcept override { return !under_way_.empty(); }
  void take_completions(const std::function<void(const Completion&)>& visit) override {
    for (const auto& [ticket, length] : std::exchange(under_way_, {})) {
      const std::vector<u8> data(failing ? 0 : length, u8{2});
      visit({.ticket = ticket, .ok = !failing, .data = data});
    }
  }
  [[nodiscard]] bool wait_idle(base::Nanoseconds) override { return true; }

  bool failing = false;
  bool later = false;

 private:
  void check(u64 offset, u64 length) const {
    SG_ASSERT(
        offset % 512 == 0 && length % 512 == 0 && base::range_fits(offset, length, capacity()),
        "the device broke the backend's contract");
  }
  BlockAnswer answer(u64 ticket, u64 read_bytes) {
    if (!later) return failing ? BlockAnswer::kFailed : BlockAnswer::kDone;
    under_way_.emplace_back(ticket, read_bytes);
    return BlockAnswer::kLater;
  }

  std::vector<u8> bytes_;
  bool read_only_;
  bool asynchronous_;
  std::function<void()> wake_;
  std::vector<std::pair<u64, u64>> under_way_;  ///< ticket and bytes to be read
};

class FrameSink final : public base::FrameReceiver {
 public:
  void on_frame(base::ConstBytes frame, const base::FrameOffload& offload) override {
    SG_ASSERT(frame.size() >= 14 && frame.size() <= base::kMaxFrame, "impossible frame length");
    SG_ASSERT(
        !offload.checksum_missing ||
            base::range_fits(offload.checksum_start + offload.checksum_offset, 2, frame.size()),
        "checksum outside of the frame");
    for (const u8 byte : frame)
      sum = static_cast<u8>(sum + byte);
  }
  void on_transmit_ready() override {}
  u8 sum = 0;
};

class SlowPort final : public PortBackend {
 public:
  std::size_t on_data(base::ConstBytes data) override {
    const std::size_t taken = std::min(room, data.size());
    for (const u8 byte : data.first(taken))
      sum = static_cast<u8>(sum + byte);
    return taken;
  }
  void on_open(bool) override {}
  void on_send_ready() override {}
  std::size_t room = 1 << 16;
  u8 sum = 0;
};

/// Does what `input` says, to all devices of a board. There is no processor.
class HostileGuest {
 public:
  explicit HostileGuest(fuzz::Input& input)
      : input_(input), ram_(GuestRam::create(kMemory).value()) {
    config_.disks = {{&disk_, "fuzz"}, {&read_only_disk_, ""}};
    config_.network = &network_;
    config_.ports = {{"a", &port_}, {"b", &port_}};
    config_.clock = &host_clock_;
    config_.random = &random_;
    board_ = std::make_unique<Board>(
        *ram_, clock_, config_,
        Board::Wiring{[this](bool level) { interrupt_ = level; }, [](SystemRequest) {}});
    clock_.run();
    enter_linux(cpu_, 1u << 20);
    for (unsigned i = 0; i < kDevices; ++i) {
      drivers_.push_back(std::make_unique<MockDriver>(
          *ram_, board_->ports(), static_cast<u16>(kFirstBar + 128 * i), kHeap + i * (500u << 10)));
    }
  }

  void run() {
    for (int steps = 0; steps < 200 && !input_.empty(); ++steps)
      step();
  }

  /// The state of the board, with a processor and a clock.
  std::vector<u8> save() {
    SG_ASSERT(board_->drain({}), "the disks answer");
    return save_state(cpu_, clock_, *board_);
  }
  /// Goes on from a state if it is one. A good one must come out again as it went in.
  bool load(base::ConstBytes archive) {
    SG_ASSERT(board_->drain({}), "the disks answer");
    if (!load_state(archive, cpu_, clock_, *board_).ok()) return false;
    const std::vector<u8> again = save();
    SG_ASSERT(std::equal(archive.begin(), archive.end(), again.begin(), again.end()),
              "a state changed by being loaded");
    return true;
  }

 private:
  static constexpr u32 kMemory = 4u << 20;
  static constexpr u32 kHeap = 1u << 20;
  static constexpr u16 kFirstBar = 0xC000;
  static constexpr unsigned kDevices = 5;  // two disks, network, console, entropy
  static constexpr std::array<u16, 29> kPorts{
      0x20,  0x21,  0xA0,  0xA1,  0x4D0, 0x4D1, 0x40,  0x41,  0x42,  0x43,
      0x61,  0x70,  0x71,  0x64,  0x92,  0xF4,  0x3F8, 0x3F9, 0x3FA, 0x3FB,
      0x3FC, 0x3FD, 0x3FE, 0x3FF, 0xCF8, 0xCFC, 0xCFE, 0xCF9, 0x5A0};

  MockDriver& driver() { return *drivers_[input_.below(kDevices)]; }
  u16 port() {
    const u8 which = input_.take<u8>();
    if (which < kPorts.size()) return kPorts[which];
    if (which < 200) return static_cast<u16>(kFirstBar + input_.below(128 * kDevices));
    return input_.take<u16>();
  }
  unsigned size() { return 1u << input_.below(3); }
  /// Mostly inside of RAM, sometimes just outside, sometimes anywhere.
  u64 address() {
    const u8 kind = input_.take<u8>();
    if (kind < 200) return (u64{input_.take<u16>()} << 6) % kMemory;
    if (kind < 230) return kMemory - input_.take<u8>();
    return input_.take<u64>();
  }
  u32 length() {
    const u8 kind = input_.take<u8>();
    if (kind < 128) return kind;
    return kind < 240 ? input_.take<u16>() : input_.take<u32>();
  }

  void describe() {
    MockDriver& device = driver();
    if (device.queue_count() == 0) return;
    const auto index = input_.below(static_cast<u32>(device.queue_count()));
    DriverQueue& queue = device.queue(index);
    const u16 first = input_.take<u8>() % 16;
    const unsigned count = 1 + input_.below(4);
    for (unsigned i = 0; i < count; ++i) {
      const auto number = static_cast<u16>(first + i);
      const auto flags = static_cast<u16>(input_.take<u8>() % 8);
      const u16 next = flags < 4 ? static_cast<u16>(number + 1) : input_.take<u16>();
      const auto last = static_cast<u16>(i + 1 == count ? flags & ~1 : flags | 1);
      queue.set_descriptor(number, address(), length(), last, next);
    }
    queue.make_available(first);
    device.kick(static_cast<u16>(index));
  }

  /// What a real driver would send, nearly: a header, data and a place for the answer.
  void request() {
    MockDriver& device = driver();
    if (device.queue_count() == 0) return;
    const auto index = input_.below(static_cast<u32>(device.queue_count()));
    std::array<u8, 16> header{};
    header[0] = input_.take<u8>() % 16;         // type of a block request, or a console port
    header[4] = input_.take<u8>() % 8;          // event of the console
    header[6] = header[8] = input_.take<u8>();  // its value, or the block request's sector
    device.put(0, header);
    const u32 length = input_.take<u8>() % 5 == 0 ? input_.take<u16>() : input_.take<u8>() * 64u;
    const u32 data = input_.take<u16>() << 4;
    const u8 shape = input_.take<u8>();
    std::vector<DriverBuffer> chain;
    if ((shape & 16) == 0) chain.push_back({0, device.queue_count() > 3 ? 8u : 16u, false});
    if ((shape & 1) != 0 && length != 0) chain.push_back({data, length, (shape & 2) != 0});
    if ((shape & 4) != 0) chain.push_back({0x100, 1, true});
    if (chain.empty()) return;
    device.queue(index).add(chain);
    if ((shape & 8) == 0) device.kick(static_cast<u16>(index));
  }

  void configure() {
    const u32 device = input_.take<u8>() % 8, offset = input_.take<u8>() & 0x3C;
    board_->ports().out(0xCF8, 4, u32{1} << 31 | device << 11 | offset);
    if (input_.take<u8>() % 2 == 0) board_->ports().in(0xCFC, 4);
    board_->ports().out(static_cast<u16>(0xCFC + input_.below(4)), size(), input_.take<u32>());
  }

  void send_frame() {
    if (board_->network() == nullptr) return;
    base::FrameOffload offload;
    const u8 bits = input_.take<u8>();
    offload.checksum_missing = (bits & 1) != 0;
    offload.checksum_valid = (bits & 2) != 0;
    offload.segmentation = static_cast<base::FrameOffload::Segmentation>((bits >> 2) % 3);
    offload.segment_size = input_.take<u16>();
    const std::vector<u8> frame(input_.take<u16>(), bits);
    board_->network()->transmit(frame, offload);
  }

  void step() {
    switch (input_.take<u8>() % 20) {
      case 0:
      case 1: {
        const u16 where = port();
        board_->ports().out(where, size(), input_.take<u32>());
        break;
      }
      case 2:
        board_->ports().in(port(), size());
        break;
      case 3: {
        const auto at = static_cast<u32>((u64{input_.take<u16>()} << 6) % kMemory);
        const base::ConstBytes bytes = input_.bytes(input_.take<u8>());
        if (ram_->contains(at, bytes.size())) {
          std::copy(bytes.begin(), bytes.end(),
                    ram_->write(at, static_cast<u32>(bytes.size())).begin());
        }
        break;
      }
      case 4:
        driver().start(input_.take<u32>());
        break;
      case 5:
      case 6:
      case 7:
        describe();
        break;
      case 8:
        send_frame();
        break;
      case 9: {
        const std::vector<u8> text(input_.take<u16>(), 'x');
        board_->console()->send(input_.below(3), text);
        break;
      }
      case 10:
        for (int i = 0; i < 10 && board_->poll(); ++i) {
        }
        break;
      case 11:
        host_clock_.advance(base::Nanoseconds(input_.take<u32>()));
        board_->update_timers(clock_.ticks());
        break;
      case 14:
      case 15:
      case 16:
        request();
        break;
      case 17:
        configure();
        break;
      case 18:
        saved_ = save();
        break;
      case 19:  // into whatever the guest's memory has become
        SG_ASSERT(saved_.empty() || load(saved_), "a state that was saved is refused");
        break;
      case 12:
        if (interrupt_) board_->pic().acknowledge();
        break;
      default:
        port_.room = input_.take<u16>();
        disk_.failing = port_.room % 2 != 0;
        disk_.later = port_.room % 4 < 2;
        board_->uart().receive(input_.bytes(4));
    }
  }

  fuzz::Input& input_;
  std::unique_ptr<GuestRam> ram_;
  base::ManualClock host_clock_;
  GuestClock clock_{host_clock_};
  CpuState cpu_;
  std::vector<u8> saved_;
  base::SeededRandom random_{1};
  FailingDisk disk_{false, input_.take<u8>() % 2 == 0};
  FailingDisk read_only_disk_{true, false};
  FrameSink network_;
  SlowPort port_;
  MachineConfig config_;
  bool interrupt_ = false;
  std::unique_ptr<Board> board_;
  std::vector<std::unique_ptr<MockDriver>> drivers_;
};

}  // namespace snowglobe::vm::test
