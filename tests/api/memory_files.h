// tests/api/memory_files.h - host files in memory that keep a journal of all that was done to them:
// what a power cut at any point could legally have left can be made of it. And calls that fail when
// told.
#pragma once

#include "base/file_system.h"
#include "base/random.h"
#include <snowglobe/export.hpp>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace snowglobe::detail::test {

/// Thread rule: any thread.
class MemoryFiles final : public base::FileSystem {
 public:
  using Bytes = std::vector<std::uint8_t>;
  using Image = std::map<std::string, Bytes>;  ///< names and contents

  explicit MemoryFiles(std::uint64_t seed = 1);
  /// As a host that has just started finds them: all is durable.
  MemoryFiles(const Image& image, std::uint64_t seed);
  ~MemoryFiles() override;

  base::Result<std::unique_ptr<base::File>> create(const Path& path) override;
  base::Result<std::unique_ptr<base::File>> open(const Path& path, Access access) override;
  base::Result<void> rename(const Path& from, const Path& to) override;
  base::Result<void> remove(const Path& path) override;
  base::Result<void> make_directory(const Path& path) override;
  base::Result<void> sync_directory(const Path& path) override;
  base::Result<std::vector<std::string>> list(const Path& path) override;
  bool exists(const Path& path) override;

  /// How much of the journal there is: a point in time.
  [[nodiscard]] std::size_t now() const;
  /// What a power cut at that point may have left: what was synced, and of what came later some
  /// calls, whole or by sectors of 512 bytes, as `random` says. Syncs that failed made nothing
  /// last.
  [[nodiscard]] Image after_cut(std::size_t point, base::RandomSource& random) const;
  /// What a process that was killed at that point leaves: all.
  [[nodiscard]] Image after_kill(std::size_t point) const;

  // Faults. A sync that fails loses what it was to make last, as Linux does.
  enum Kind : unsigned {
    kRead = 1,
    kWrite = 2,
    kSync = 4,
    kPunch = 8,
    kSize = 16,
    kNames = 32,  ///< create, open, rename, remove
    kFolder = 64,
    kAny = 127,
    kWriteBack = 128,  ///< a hint, which does nothing
  };
  /// The n-th call of these kinds from now on fails, and none after it; 0: none.
  void fail_nth(std::uint64_t n, unsigned kinds);
  /// The same, but half of what was to be written is.
  void tear_nth(std::uint64_t n);
  [[nodiscard]] bool struck() const;
  /// Every one in `chance` reads that should not wait would have to; 0: none.
  void set_cold(std::uint64_t chance);
  /// While held, syncs wait before they do anything.
  void hold_syncs(bool hold);
  /// Each write takes this long.
  void set_write_time(std::chrono::milliseconds time);
  /// Holes can not be punched.
  void set_no_holes() { no_holes_ = true; }
  [[nodiscard]] std::uint64_t calls(Kind kind) const;

 private:
  class File;
  struct Inode;
  struct Operation;
  struct World;

  bool fails(Kind kind);
  base::Result<void> refuse(Kind kind, const char* what);
  std::unique_ptr<World> replay(std::size_t point, base::RandomSource* random) const;

  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Inode>> names_;
  std::vector<std::unique_ptr<Operation>> journal_;
  Image first_;
  std::uint64_t next_inode_ = 1;
  std::uint64_t fail_in_ = 0;
  unsigned fail_kinds_ = 0;
  bool tear_ = false, struck_ = false;
  std::uint64_t cold_ = 0;
  bool no_holes_ = false, hold_syncs_ = false;
  std::condition_variable released_;
  std::chrono::milliseconds write_time_{0};
  std::map<Kind, std::uint64_t> calls_;
  base::SeededRandom random_;
};

}  // namespace snowglobe::detail::test
