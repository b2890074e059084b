// guestnet/stream_info.cc - close reasons in words, for logs and errors.
#include "guestnet/stream_info.h"

namespace snowglobe::net {

std::string_view to_string(CloseReason reason) {
  switch (reason) {
    case CloseReason::kNone:
      return "still open";
    case CloseReason::kFinished:
      return "both sides finished";
    case CloseReason::kGuestRefused:
      return "nobody listens on the guest's port";
    case CloseReason::kGuestReset:
      return "the guest reset the connection";
    case CloseReason::kGuestSilent:
      return "the guest did not answer";
    case CloseReason::kClientFailed:
      return "the client's socket broke";
    case CloseReason::kRequested:
      return "closed on request";
    case CloseReason::kShutDown:
      return "the network was shut down";
    case CloseReason::kRolledBack:
      return "the guest was put back to an earlier state";
  }
  return "unknown";
}

}  // namespace snowglobe::net
