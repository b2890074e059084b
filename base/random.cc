// base/random.cc - getrandom(2) and SplitMix64.
#include "base/random.h"

#include "base/check.h"

#include <algorithm>
#include <cerrno>
#include <sys/random.h>

namespace snowglobe::base {

std::uint64_t RandomSource::next() {
  std::uint8_t bytes[8];
  fill(bytes);
  return load_le<std::uint64_t>(bytes);
}

void SystemRandom::fill(Bytes out) {
  while (!out.empty()) {
    const ssize_t got = ::getrandom(out.data(), out.size(), 0);
    if (got < 0) {
      SG_ASSERT(errno == EINTR, "getrandom failed");
      continue;
    }
    out = out.subspan(static_cast<std::size_t>(got));
  }
}

void SeededRandom::fill(Bytes out) {
  const std::lock_guard lock(mutex_);
  while (!out.empty()) {
    state_ += 0x9E3779B97F4A7C15u;  // SplitMix64 (Steele, Lea, Flood 2014)
    std::uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBu;
    mixed ^= mixed >> 31;
    const std::size_t length = std::min<std::size_t>(8, out.size());
    std::memcpy(out.data(), &mixed, length);
    out = out.subspan(length);
  }
}

}  // namespace snowglobe::base
