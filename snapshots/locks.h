// snapshots/locks.h - who uses what of a store, across threads and processes: shared and exclusive
// locks on numbers. The kernel drops a process's locks when it dies, however it dies.
#pragma once

#include "base/error.h"
#include "base/file_system.h"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>

namespace snowglobe::snapshots {

/// The numbers that are locked. Order in which they are taken: kSetup, kPacks, then snapshots,
/// ascending; the catalogue's own lock comes last.
inline constexpr std::uint64_t kSetupLock = 0;  ///< exclusive: makes the store's files
/// Shared: writes packs, or relies on packs that no snapshot needs. Exclusive: removes packs.
inline constexpr std::uint64_t kPacksLock = 1;
/// Shared: reads a snapshot or builds on it. Exclusive: removes it.
constexpr std::uint64_t snapshot_lock(std::uint64_t number) {
  return 1024 + number;
}

/// Thread rule: any thread. A lock counts between threads as well as between processes.
class LockFile {
 public:
  enum class Access : std::uint8_t {
    kShared,  ///< the file must be there, and is not written: for shared locks
    kAll,
  };
  /// Opens the file, or makes it (0600).
  static base::Result<std::shared_ptr<LockFile>> open(base::FileSystem& files,
                                                      const std::filesystem::path& path,
                                                      std::chrono::milliseconds wait_limit,
                                                      Access access);
  LockFile(const LockFile&) = delete;
  LockFile& operator=(const LockFile&) = delete;

  /// Holds a lock as long as it lives, and the file open.
  class Lease {
   public:
    Lease() = default;
    Lease(Lease&& other) noexcept { *this = std::move(other); }
    Lease& operator=(Lease&& other) noexcept;
    ~Lease() { release(); }
    void release();

   private:
    friend class LockFile;
    Lease(std::shared_ptr<LockFile> file, std::uint64_t number, bool exclusive)
        : file_(std::move(file)), number_(number), exclusive_(exclusive) {}

    std::shared_ptr<LockFile> file_;
    std::uint64_t number_ = 0;
    bool exclusive_ = false;
  };

  enum class Mode : std::uint8_t { kShared, kExclusive };
  enum class Wait : std::uint8_t { kNo, kYes };

  /// kUnavailable when others hold it in a way that excludes ours: at once, or after the limit.
  base::Result<Lease> take(std::uint64_t number, Mode mode, Wait wait = Wait::kYes);

 private:
  struct Holders {
    unsigned shared = 0;
    bool exclusive = false;
  };

  LockFile(std::unique_ptr<base::File> file, std::filesystem::path path,
           std::chrono::milliseconds wait_limit);
  base::Result<bool> try_take(std::uint64_t number, Mode mode);
  void release(std::uint64_t number, bool exclusive);

  const std::unique_ptr<base::File> file_;
  const std::filesystem::path path_;
  const std::chrono::milliseconds wait_limit_;
  const int process_;
  std::weak_ptr<LockFile> self_;
  std::mutex mutex_;
  std::map<std::uint64_t, Holders> holders_;  // our own; the kernel counts a process's as one
};

}  // namespace snowglobe::snapshots
