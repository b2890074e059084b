// vm/devices/virtio/block_async.cc - block requests whose backend may answer later: departure, time
// under way, landing.
#include "vm/devices/virtio/block.h"
#include "vm/devices/virtio/block_request.h"

namespace snowglobe::vm {

namespace {

// What a backend copies of requests under way is the host's memory, and the guest decides how many
// there are.
constexpr u64 kMostUnderWay = 16u << 20;
constexpr u64 kFlightCost = 4096;

}  // namespace

bool VirtioBlock::has_room() const {
  return flights_.size() < kBlockQueueSize && cost_under_way_ < kMostUnderWay;
}

/// Nothing: the answer comes later.
std::optional<VirtioBlock::Outcome> VirtioBlock::start(Request& request) {
  const u64 offset = request.sector * kSectorBytes;
  Flight flight{
      .head = chain_.head, .queue = queue(0).generation(), .cost = kFlightCost, .parts = 1};
  switch (request.type) {
    case kBlockIn: {
      const u32 length = chain_.writable_bytes;
      if (!range_ok(request.sector, length)) return Outcome::kIoError;
      flight.cost += length;
      flight.read_bytes = length;
      statistics_.bytes_read += length;
      const BlockAnswer answer = async_->submit_read(next_ticket_, offset, chain_.writable);
      if (answer == BlockAnswer::kDone) request.data_written = length;
      return settle(answer, flight);
    }
    case kBlockOut: {
      const u32 length = chain_.readable_bytes - kBlockHeaderBytes;
      if (backend_.read_only() || !range_ok(request.sector, length)) return Outcome::kIoError;
      flight.cost += length;
      statistics_.bytes_written += length;
      cut_header();
      return settle(async_->submit_write(next_ticket_, offset, chain_.readable), flight);
    }
    case kBlockFlush:
      return settle(async_->submit_flush(next_ticket_), flight);
    case kBlockDiscard:
    case kBlockWriteZeroes:
      return start_discard(flight);
    default:
      return execute(request);  // needs no backend
  }
}

/// What is left of chain_.readable are the data.
void VirtioBlock::cut_header() {
  u32 left = kBlockHeaderBytes;
  auto& parts = chain_.readable;
  while (left >= parts.front().size() && parts.size() > 1) {
    left -= static_cast<u32>(parts.front().size());
    parts.erase(parts.begin());
  }
  parts.front() = parts.front().subspan(left);
  chain_.readable_bytes -= kBlockHeaderBytes;
}

std::optional<VirtioBlock::Outcome> VirtioBlock::settle(BlockAnswer answer, const Flight& flight) {
  switch (answer) {
    case BlockAnswer::kDone:
      return Outcome::kOk;
    case BlockAnswer::kFailed:
      return Outcome::kIoError;
    case BlockAnswer::kLater:
      break;
  }
  flights_.emplace(next_ticket_++, flight);
  cost_under_way_ += flight.cost;
  return std::nullopt;
}

/// All ranges of a request have one ticket, which comes back as often as one was put off.
std::optional<VirtioBlock::Outcome> VirtioBlock::start_discard(Flight& flight) {
  const Outcome good = read_ranges();
  if (good != Outcome::kOk) return good;
  flight.parts = 0;
  for (const Range& range : ranges_) {
    const BlockAnswer answer = async_->submit_discard(next_ticket_, range.offset, range.length);
    flight.parts += answer == BlockAnswer::kLater ? 1 : 0;
    flight.failed |= answer == BlockAnswer::kFailed;
  }
  if (flight.parts == 0) return flight.failed ? Outcome::kIoError : Outcome::kOk;
  return settle(BlockAnswer::kLater, flight);
}

void VirtioBlock::give_answers() {
  bool landed_any = false;
  async_->take_completions([&](const AsyncBlock::Completion& completion) {
    const auto found = flights_.find(completion.ticket);
    if (found == flights_.end()) return;  // of before a reset
    Flight& flight = found->second;
    flight.failed |= !completion.ok;
    if (--flight.parts != 0) return;
    const Flight landed = flight;
    flights_.erase(found);
    cost_under_way_ -= landed.cost;
    land(landed, completion.data);
    landed_any = true;
  });
  if (!landed_any) return;
  signal(0);
  check_broken();
}

/// The chain belongs to the device until it is given back, but nothing keeps a driver from changing
/// it: so it is checked again like a new one.
void VirtioBlock::land(const Flight& flight, base::ConstBytes data) {
  if ((status() & kStatusNeedsReset) != 0 || flight.queue != queue(0).generation()) return;
  if (!queue(0).look_again(flight.head, chain_)) return;
  u8* const status = take_status();
  if (status == nullptr || (flight.read_bytes != 0 && chain_.writable_bytes != flight.read_bytes))
    return check_broken("a block request that changed while it was under way");
  u32 written = 0;
  if (flight.read_bytes != 0 && !flight.failed) written = chain_.write(0, data);
  answer(*status, written, flight.failed ? Outcome::kIoError : Outcome::kOk);
}

void VirtioBlock::forget_flights() {
  flights_.clear();
  cost_under_way_ = 0;
}

bool VirtioBlock::drain(base::Nanoseconds limit) {
  if (async_ == nullptr) return true;
  if (!async_->wait_idle(limit)) return false;
  take_completions();
  return true;
}

}  // namespace snowglobe::vm
