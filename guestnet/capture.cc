// guestnet/capture.cc - the pcap file format with nanosecond times (draft-ietf-opsawg-pcap).
#include "guestnet/capture.h"

#include "guestnet/checksum.h"

#include <cerrno>
#include <system_error>

namespace snowglobe::net {
namespace {

constexpr std::uint32_t kMagicNanoseconds = 0xA1B23C4D;
constexpr std::uint32_t kLinkTypeEthernet = 1;

}  // namespace

base::Result<std::unique_ptr<Capture>> Capture::create(const std::string& path,
                                                       const base::Clock& clock) {
  File file(std::fopen(path.c_str(), "wbe"));
  if (file == nullptr) {
    return base::Error{base::ErrorCode::kIo, "create capture file '" + path +
                                                 "': " + std::generic_category().message(errno)};
  }
  std::uint8_t header[24] = {};
  base::store_le(header, kMagicNanoseconds);
  base::store_le(header + 4, std::uint16_t{2});
  base::store_le(header + 6, std::uint16_t{4});
  base::store_le(header + 16, static_cast<std::uint32_t>(base::kMaxFrame));
  base::store_le(header + 20, kLinkTypeEthernet);
  std::fwrite(header, 1, sizeof header, file.get());
  return std::unique_ptr<Capture>(new Capture(std::move(file), clock));
}

void Capture::record(base::ConstBytes frame, const base::FrameOffload& offload) {
  copy_.assign(frame.begin(), frame.end());
  if (offload.checksum_missing) complete_checksum(copy_, offload);
  const std::int64_t now = clock_.wall().count();
  std::uint8_t header[16];
  base::store_le(header, static_cast<std::uint32_t>(now / 1'000'000'000));
  base::store_le(header + 4, static_cast<std::uint32_t>(now % 1'000'000'000));
  base::store_le(header + 8, static_cast<std::uint32_t>(copy_.size()));
  base::store_le(header + 12, static_cast<std::uint32_t>(copy_.size()));
  std::fwrite(header, 1, sizeof header, file_.get());
  std::fwrite(copy_.data(), 1, copy_.size(), file_.get());
  std::fflush(file_.get());  // so that the file is of use while the machine runs, or after it died
}

}  // namespace snowglobe::net
