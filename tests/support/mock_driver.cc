// tests/support/mock_driver.cc - rings in guest memory and the legacy registers.
#include "tests/support/mock_driver.h"

#include <algorithm>

namespace snowglobe::vm::test {

namespace {

constexpr u16 kMaxQueues = 64;
constexpr u16 kMaxQueueSize = 256;

void store_descriptor(u8* to, u64 address, u32 length, u16 flags, u16 next) {
  base::store_le(to, address);
  base::store_le(to + 8, length);
  base::store_le(to + 12, flags);
  base::store_le(to + 14, next);
}

u32 align(u32 value, u32 alignment) {
  return static_cast<u32>(base::align_up(value, alignment));
}

}  // namespace

DriverQueue::DriverQueue(GuestRam& ram, u32 address, u16 size)
    : ram_(ram),
      size_(size),
      descriptors_(address),
      available_(address + 16u * size),
      used_(align(available_ + 6 + 2u * size, 4096)) {}

u16 DriverQueue::load16(u32 address) const {
  return base::load_le<u16>(ram_.read(address, 2).data());
}

void DriverQueue::store16(u32 address, u16 value) {
  base::store_le(ram_.write(address, 2).data(), value);
}

void DriverQueue::set_descriptor(u16 index, u64 address, u32 length, u16 flags, u16 next) {
  store_descriptor(ram_.write(descriptors_ + 16u * index, 16).data(), address, length, flags, next);
}

void DriverQueue::set_indirect(u32 table, u16 index, u64 address, u32 length, u16 flags, u16 next) {
  store_descriptor(ram_.write(table + 16u * index, 16).data(), address, length, flags, next);
}

u16 DriverQueue::add(const std::vector<DriverBuffer>& buffers) {
  const u16 head = next_descriptor_;
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    const auto index = static_cast<u16>(next_descriptor_ % size_);
    next_descriptor_ = static_cast<u16>((next_descriptor_ + 1) % size_);
    const bool last = i + 1 == buffers.size();
    const auto flags =
        static_cast<u16>((last ? 0 : kDescNext) | (buffers[i].device_writes ? kDescWrite : 0));
    set_descriptor(index, buffers[i].address, buffers[i].length, flags, next_descriptor_);
  }
  make_available(head);
  return head;
}

void DriverQueue::make_available(u16 head) {
  store16(available_ + 4 + 2u * (next_available_ % size_), head);
  ++next_available_;
  set_available_index(next_available_);
}

std::optional<DriverQueue::Used> DriverQueue::take_used() {
  if (used_index() == next_used_) return std::nullopt;
  const u8* entry = ram_.read(used_ + 4 + 8u * (next_used_ % size_), 8).data();
  ++next_used_;
  return Used{static_cast<u16>(base::load_le<u32>(entry)), base::load_le<u32>(entry + 4)};
}

MockDriver::MockDriver(GuestRam& ram, PortBus& ports, u16 bar, u32 heap)
    : ram_(ram), ports_(ports), bar_(bar), heap_(heap) {}

void MockDriver::reset() {
  ports_.out(static_cast<u16>(bar_ + 18), 1, 0);
}

void MockDriver::set_driver_ok() {
  ports_.out(static_cast<u16>(bar_ + 18), 1, 1 | 2 | 4);
}

void MockDriver::start(u32 wanted) {
  reset();
  ports_.out(static_cast<u16>(bar_ + 18), 1, 1);
  ports_.out(static_cast<u16>(bar_ + 18), 1, 1 | 2);
  ports_.out(static_cast<u16>(bar_ + 4), 4, offered_features() & wanted);
  queues_.clear();
  for (u16 index = 0; index < kMaxQueues; ++index) {
    ports_.out(static_cast<u16>(bar_ + 14), 2, index);
    const auto size = static_cast<u16>(ports_.in(static_cast<u16>(bar_ + 12), 2));
    // No such queue, or another device answers, because the BAR was moved.
    if (size == 0 || size > kMaxQueueSize) break;
    const u32 bytes = align(16u * size + 6 + 2u * size, 4096) + 6 + 8u * size;
    const u32 address = allocate(align(bytes, 4096));
    const base::Bytes rings = ram_.write(address, align(bytes, 4096));
    if (rings.empty()) break;  // out of memory
    std::fill(rings.begin(), rings.end(), u8{0});
    queues_.emplace_back(ram_, address, size);
    ports_.out(static_cast<u16>(bar_ + 8), 4, address >> 12);
  }
  set_driver_ok();
}

u32 MockDriver::allocate(u32 length) {
  heap_ = align(heap_, length >= 4096 ? 4096 : 16);
  const u32 address = heap_;
  heap_ += length;
  return address;
}

void MockDriver::put(u32 address, base::ConstBytes bytes) {
  const base::Bytes to = ram_.write(address, static_cast<u32>(bytes.size()));
  std::copy_n(bytes.begin(), to.size(), to.begin());
}

std::vector<u8> MockDriver::get(u32 address, u32 length) const {
  const base::ConstBytes bytes = ram_.read(address, length);
  return {bytes.begin(), bytes.end()};
}

}  // namespace snowglobe::vm::test
