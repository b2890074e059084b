// guestnet/capture.h - writes all frames of the cable to a pcap file, for tshark and Wireshark.
#pragma once

#include "base/clock.h"
#include "base/error.h"
#include "base/frame.h"

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

namespace snowglobe::net {

/// Thread rule: confined to the network's thread. Write errors are ignored: a full disk must not
/// end the machine's network.
class Capture {
 public:
  /// Creates or empties the file. Errors: kIo.
  static base::Result<std::unique_ptr<Capture>> create(const std::string& path,
                                                       const base::Clock& clock);

  /// Checksums that were left to the receiver are completed in the recorded copy.
  void record(base::ConstBytes frame, const base::FrameOffload& offload);

 private:
  struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  using File = std::unique_ptr<std::FILE, CloseFile>;

  Capture(File file, const base::Clock& clock) : file_(std::move(file)), clock_(clock) {}

  File file_;
  const base::Clock& clock_;
  std::vector<std::uint8_t> copy_;
};

}  // namespace snowglobe::net
