// base/random.h - randomness as an interface: the operating system's, or a seeded one for tests.
#pragma once

#include "base/bytes.h"

#include <cstdint>
#include <mutex>

namespace snowglobe::base {

/// Thread rule: all implementations may be called from any thread.
class RandomSource {
 public:
  virtual ~RandomSource() = default;
  /// Fills all of `out`.
  virtual void fill(Bytes out) = 0;
  /// 64 random bits.
  std::uint64_t next();
};

/// getrandom(2): fit for keys and passwords.
class SystemRandom final : public RandomSource {
 public:
  void fill(Bytes out) override;
};

/// SplitMix64: the same sequence for the same seed. For tests, never for secrets.
class SeededRandom final : public RandomSource {
 public:
  explicit SeededRandom(std::uint64_t seed) : state_(seed) {}
  void fill(Bytes out) override;

 private:
  std::mutex mutex_;
  std::uint64_t state_;
};

}  // namespace snowglobe::base
