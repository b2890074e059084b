// guestnet/checksum.cc - one's complement sums, eight bytes at a time.
#include "guestnet/checksum.h"

namespace snowglobe::net {
namespace {

constexpr std::uint64_t fold_once(std::uint64_t sum) {
  return (sum & 0xFFFFFFFF) + (sum >> 32);
}

}  // namespace

void ChecksumSum::add(base::ConstBytes bytes) {
  // RFC 1071, 2(B): the sum of little-endian words is the byte-swapped sum of big-endian ones.
  std::uint64_t little = 0;
  std::size_t at = 0;
  for (; at + 4 <= bytes.size(); at += 4)
    little += base::load_le<std::uint32_t>(&bytes[at]);
  if (at + 2 <= bytes.size()) {
    little += base::load_le<std::uint16_t>(&bytes[at]);
    at += 2;
  }
  if (at < bytes.size()) little += bytes[at];
  little = fold_once(fold_once(little));
  little = (little & 0xFFFF) + (little >> 16);
  little = (little & 0xFFFF) + (little >> 16);
  sum_ += base::byte_swap(static_cast<std::uint16_t>(little));
}

std::uint16_t ChecksumSum::folded() const {
  std::uint64_t sum = fold_once(fold_once(sum_));
  sum = (sum & 0xFFFF) + (sum >> 16);
  sum = (sum & 0xFFFF) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

ChecksumSum pseudo_header_sum(Ipv4Address source, Ipv4Address destination, std::uint8_t protocol,
                              std::size_t length) {
  std::uint8_t header[12] = {};
  source.store(header);
  destination.store(header + 4);
  header[9] = protocol;
  base::store_be(header + 10, static_cast<std::uint16_t>(length));
  ChecksumSum sum;
  sum.add(header);
  return sum;
}

ChecksumSum pseudo_header_sum(const Ipv6Address& source, const Ipv6Address& destination,
                              std::uint8_t protocol, std::size_t length) {
  std::uint8_t header[40] = {};
  source.store(header);
  destination.store(header + 16);
  base::store_be(header + 32, static_cast<std::uint32_t>(length));
  header[39] = protocol;
  ChecksumSum sum;
  sum.add(header);
  return sum;
}

bool complete_checksum(base::Bytes frame, const base::FrameOffload& offload) {
  const std::size_t field = std::size_t{offload.checksum_start} + offload.checksum_offset;
  if (!base::range_fits(field, 2, frame.size())) return false;
  ChecksumSum sum;
  sum.add(frame.subspan(offload.checksum_start));
  base::store_be(&frame[field], sum.checksum());
  return true;
}

}  // namespace snowglobe::net
