// tests/api/disk_driver.h - a guest's driver for a persistent disk, with a ledger: for each sector
// what it may hold when the power fails now, and what it must hold when the process is killed.
#pragma once

#include "api/src/persistent_disk.h"
#include "tests/api/disk_world.h"

#include <chrono>
#include <gtest/gtest.h>
#include <map>
#include <optional>
#include <thread>
#include <vector>

namespace snowglobe::detail::test {

inline constexpr vm::u64 kSectorBytes = 512;

/// What was written to each sector, by stamps: a sector of stamp s is filled with s and its number;
/// stamp 0 is zeros.
class Ledger {
 public:
  struct Version {
    vm::u64 stamp = 0;
    bool answered = true;
  };

  explicit Ledger(vm::u64 sectors) : sectors_(sectors, std::vector<Version>(1)), least_(sectors) {}

  static void fill(base::Bytes sector, vm::u64 stamp, vm::u64 number) {
    std::fill(sector.begin(), sector.end(), std::uint8_t{0});
    for (vm::u64 at = 0; stamp != 0 && at < sector.size(); at += 16) {
      base::store_le(&sector[at], stamp);
      base::store_le(&sector[at + 8], number);
    }
  }
  /// The stamp of a sector, or nothing if it is none of ours.
  static std::optional<vm::u64> stamp_of(base::ConstBytes sector, vm::u64 number) {
    Contents expected(sector.size());
    const auto stamp = base::load_le<vm::u64>(sector.data());
    fill(expected, stamp, number);
    if (!std::equal(expected.begin(), expected.end(), sector.begin())) return std::nullopt;
    return stamp;
  }

  /// The disk may have that many sectors from now on, zeros behind what there was.
  void growing(vm::u64 sectors) { sectors_.resize(sectors, std::vector<Version>(1)); }
  /// And has, whatever happens.
  void grown() { least_ = sectors_.size(); }
  [[nodiscard]] vm::u64 sectors() const { return sectors_.size(); }

  void submitted(vm::u64 first, vm::u64 count, vm::u64 stamp) {
    for (vm::u64 i = first; i < first + count; ++i)
      sectors_[i].push_back({stamp, false});
  }
  void answered(vm::u64 first, vm::u64 count, vm::u64 stamp) {
    for (vm::u64 i = first; i < first + count; ++i) {
      for (Version& version : sectors_[i])
        version.answered |= version.stamp == stamp;
    }
  }
  /// What is answered now; a flush that is submitted now is about that.
  [[nodiscard]] std::vector<std::size_t> answered_now() const {
    std::vector<std::size_t> last(sectors_.size());
    for (std::size_t i = 0; i < sectors_.size(); ++i) {
      for (std::size_t v = 0; v < sectors_[i].size(); ++v) {
        if (sectors_[i][v].answered) last[i] = v + dropped_of(i);
      }
    }
    return last;
  }
  void flushed(const std::vector<std::size_t>& answered) {
    for (std::size_t i = 0; i < answered.size(); ++i) {
      const std::size_t keep = answered[i];
      while (dropped_of(i) < keep) {
        sectors_[i].erase(sectors_[i].begin());
        ++dropped_[i];
      }
    }
  }

  /// Empty if `all` may be what a power cut left (`killed`: a kill), else what is wrong.
  [[nodiscard]] std::string judge(const Contents& all, bool killed) const {
    const std::size_t there = all.size() / kSectorBytes;
    if (there < least_ || there > sectors_.size()) {
      return "the disk has " + std::to_string(there) + " sectors";
    }
    for (std::size_t i = 0; i < there; ++i) {
      const auto stamp = stamp_of(base::ConstBytes(all).subspan(i * kSectorBytes, kSectorBytes), i);
      if (!stamp) return "sector " + std::to_string(i) + " is none of ours";
      std::size_t from = 0;
      for (std::size_t v = 0; killed && v < sectors_[i].size(); ++v) {
        if (sectors_[i][v].answered) from = v;
      }
      const bool known =
          std::any_of(sectors_[i].begin() + static_cast<std::ptrdiff_t>(from), sectors_[i].end(),
                      [&](const Version& version) { return version.stamp == *stamp; });
      if (!known) {
        return "sector " + std::to_string(i) + " has stamp " + std::to_string(*stamp) +
               ", and at least " + std::to_string(sectors_[i][from].stamp) + " was promised";
      }
    }
    return {};
  }

 private:
  [[nodiscard]] std::size_t dropped_of(std::size_t sector) const {
    const auto found = dropped_.find(sector);
    return found == dropped_.end() ? 0 : found->second;
  }

  std::vector<std::vector<Version>> sectors_;  ///< the first is durable
  std::size_t least_;                          ///< sectors that are there
  std::map<std::size_t, std::size_t> dropped_;
};

/// Sends requests, several under way at a time.
class DiskDriver {
 public:
  DiskDriver(PersistentDisk& disk, Ledger& ledger, vm::u64 seed)
      : block_(*disk.asynchronous()), ledger_(ledger), random_(seed) {
    block_.attach([this] { ++wakes; });
  }
  ~DiskDriver() { block_.attach(nullptr); }
  DiskDriver(const DiskDriver&) = delete;
  DiskDriver& operator=(const DiskDriver&) = delete;

  void write(vm::u64 first, vm::u64 count) {
    const vm::u64 stamp = next_stamp_++;
    Contents bytes(count * kSectorBytes);
    for (vm::u64 i = 0; i < count; ++i) {
      Ledger::fill(base::Bytes(bytes).subspan(i * kSectorBytes, kSectorBytes), stamp, first + i);
    }
    ledger_.submitted(first, count, stamp);
    const base::ConstBytes all(bytes);
    const vm::u64 half = random_.next() % bytes.size();
    const std::vector<base::ConstBytes> parts{all.first(half), all.subspan(half)};
    settle(block_.submit_write(next_ticket_, first * kSectorBytes, parts),
           {.kind = Kind::kWrite, .first = first, .count = count, .stamp = stamp, .answered = {}});
  }
  void discard(vm::u64 first, vm::u64 count) {
    ledger_.submitted(first, count, 0);
    settle(block_.submit_discard(next_ticket_, first * kSectorBytes, count * kSectorBytes),
           {.kind = Kind::kWrite, .first = first, .count = count, .stamp = 0, .answered = {}});
  }
  void flush() {
    settle(block_.submit_flush(next_ticket_), {.kind = Kind::kFlush,
                                               .first = 0,
                                               .count = 0,
                                               .stamp = 0,
                                               .answered = ledger_.answered_now()});
  }
  void read(vm::u64 first, vm::u64 count) {
    Contents bytes(count * kSectorBytes);
    const base::Bytes all(bytes);
    const vm::BlockAnswer answer =
        block_.submit_read(next_ticket_, first * kSectorBytes, {&all, 1});
    if (answer == vm::BlockAnswer::kDone) check_read(first, bytes);
    settle(answer,
           {.kind = Kind::kRead, .first = first, .count = count, .stamp = 0, .answered = {}});
  }
  void random_request(vm::u64 sectors) {
    const vm::u64 first = random_.next() % sectors;
    const vm::u64 count = 1 + random_.next() % std::min<vm::u64>(sectors - first, 40);
    const vm::u64 what = random_.next() % 16;
    if (what < 9) return write(first, count);
    if (what < 10) return discard(first, count);
    if (what < 13) return read(first, count);
    flush();
  }

  void take() {
    block_.take_completions([this](const vm::AsyncBlock::Completion& completion) {
      const auto found = under_way_.find(completion.ticket);
      ASSERT_NE(found, under_way_.end());
      const Request request = std::move(found->second);
      under_way_.erase(found);
      if (!completion.ok) {
        ++failures;
        return;
      }
      if (request.kind == Kind::kRead) {
        ASSERT_EQ(completion.data.size(), request.count * kSectorBytes);
        check_read(request.first, {completion.data.begin(), completion.data.end()});
      }
      ended(request);
    });
  }
  /// False: something has not been answered in time.
  bool finish() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!under_way_.empty() && std::chrono::steady_clock::now() < deadline) {
      take();
      std::this_thread::yield();
    }
    return under_way_.empty();
  }
  [[nodiscard]] std::size_t under_way() const { return under_way_.size(); }
  [[nodiscard]] vm::u64 next_stamp() const { return next_stamp_; }
  void set_next_stamp(vm::u64 stamp) { next_stamp_ = stamp; }

  std::atomic<int> wakes = 0;
  int failures = 0;

 private:
  enum class Kind : std::uint8_t { kRead, kWrite, kFlush };
  struct Request {
    Kind kind;
    vm::u64 first, count, stamp;
    std::vector<std::size_t> answered;
  };

  void settle(vm::BlockAnswer answer, Request request) {
    const vm::u64 ticket = next_ticket_++;
    if (answer == vm::BlockAnswer::kLater) {
      under_way_.emplace(ticket, std::move(request));
    } else if (answer == vm::BlockAnswer::kDone) {
      ended(request);
    } else {
      ++failures;
    }
  }
  void ended(const Request& request) {
    if (request.kind == Kind::kWrite) {
      ledger_.answered(request.first, request.count, request.stamp);
    }
    if (request.kind == Kind::kFlush) ledger_.flushed(request.answered);
  }
  static void check_read(vm::u64 first, const Contents& bytes) {
    for (vm::u64 i = 0; i < bytes.size() / kSectorBytes; ++i) {
      EXPECT_TRUE(Ledger::stamp_of(base::ConstBytes(bytes).subspan(i * kSectorBytes, kSectorBytes),
                                   first + i))
          << "a read gave what nobody wrote";
    }
  }

  vm::AsyncBlock& block_;
  Ledger& ledger_;
  base::SeededRandom random_;
  std::map<vm::u64, Request> under_way_;
  vm::u64 next_ticket_ = 1;
  vm::u64 next_stamp_ = 1;
};

}  // namespace snowglobe::detail::test
