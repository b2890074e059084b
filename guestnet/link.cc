// guestnet/link.cc - sending of frames with a short, bounded queue.
#include "guestnet/link.h"

#include "base/check.h"

namespace snowglobe::net {

void Link::attach(base::FrameTransmitter* transmitter) {
  transmitter_ = transmitter;
  refused_ = false;
}

bool Link::transmit(base::ConstBytes frame, const base::FrameOffload& offload) {
  if (transmitter_ == nullptr || held_ || refused_) return false;
  if (!transmitter_->transmit(frame, offload)) {
    refused_ = true;
    ++statistics_.frames_refused;
    return false;
  }
  ++statistics_.frames_to_guest;
  statistics_.bytes_to_guest += frame.size();
  if (capture_ != nullptr) capture_->record(frame, offload);
  return true;
}

bool Link::send(base::ConstBytes frame, const base::FrameOffload& offload) {
  return queue_.empty() && transmit(frame, offload);
}

void Link::send_or_queue(base::ConstBytes frame) {
  SG_DCHECK(frame.size() <= kSmallFrame, "only small frames may wait");
  if (queue_.empty() && transmit(frame, {})) return;
  if (queue_.size() >= kQueueLimit) {
    ++statistics_.frames_dropped;
    return;
  }
  queue_.emplace_back(frame.begin(), frame.end());
}

void Link::on_ready() {
  refused_ = false;
  while (!queue_.empty() && transmit(queue_.front(), {}))
    queue_.pop_front();
}

void Link::note_received(base::ConstBytes frame, const base::FrameOffload& offload) {
  ++statistics_.frames_from_guest;
  statistics_.bytes_from_guest += frame.size();
  if (capture_ != nullptr) capture_->record(frame, offload);
}

}  // namespace snowglobe::net
