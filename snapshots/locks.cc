// snapshots/locks.cc - open file description locks (fcntl(2), F_OFD_SETLK) on bytes of one file.
// Not flock(2): one file would be needed for each number. Not the classic record locks: closing any
// descriptor of the file would drop them.
#include "snapshots/locks.h"

#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <thread>
#include <unistd.h>

namespace snowglobe::snapshots {

namespace {

constexpr std::chrono::milliseconds kPollEvery{2};

int set_lock(int descriptor, std::uint64_t number, short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(number);
  lock.l_len = 1;
  return ::fcntl(descriptor, F_OFD_SETLK, &lock);
}

const char* purpose(std::uint64_t number) {
  if (number == kSetupLock) return "is being set up by another process";
  if (number == kPacksLock) return "has writers, or is being compacted";
  return "has this snapshot in use by a reader or writer";
}

}  // namespace

LockFile::LockFile(std::unique_ptr<base::File> file, std::filesystem::path path,
                   std::chrono::milliseconds wait_limit)
    : file_(std::move(file)),
      path_(std::move(path)),
      wait_limit_(wait_limit),
      process_(::getpid()) {}

base::Result<std::shared_ptr<LockFile>> LockFile::open(base::FileSystem& files,
                                                       const std::filesystem::path& path,
                                                       std::chrono::milliseconds wait_limit,
                                                       Access access) {
  auto opened = access == Access::kAll ? files.open_or_create(path)
                                       : files.open(path, base::FileSystem::Access::kRead);
  if (!opened.ok()) return opened.error();
  std::shared_ptr<LockFile> file(new LockFile(std::move(opened).value(), path, wait_limit));
  file->self_ = file;
  return file;
}

base::Result<LockFile::Lease> LockFile::take(std::uint64_t number, Mode mode, Wait wait) {
  // A number of tries, not a clock: the bound holds whatever the clock does.
  const auto tries = wait == Wait::kYes ? wait_limit_ / kPollEvery : 0;
  for (auto i = 0 * tries;; ++i) {
    auto taken = try_take(number, mode);
    if (!taken.ok()) return taken.error();
    if (taken.value()) return Lease(self_.lock(), number, mode == Mode::kExclusive);
    if (i >= tries) {
      return base::Error{base::ErrorCode::kUnavailable,
                         fmt::format("the store '{}' {}: try again later",
                                     path_.parent_path().string(), purpose(number))};
    }
    std::this_thread::sleep_for(kPollEvery);
  }
}

base::Result<bool> LockFile::try_take(std::uint64_t number, Mode mode) {
  const std::lock_guard lock(mutex_);
  const auto found = holders_.find(number);
  if (found != holders_.end()) {
    if (mode == Mode::kExclusive || found->second.exclusive) return false;
    ++found->second.shared;
    return true;
  }
  if (set_lock(file_->descriptor(), number, mode == Mode::kExclusive ? F_WRLCK : F_RDLCK) != 0) {
    if (errno == EAGAIN || errno == EACCES || errno == EINTR) return false;
    return base::os_error("lock", path_, errno);
  }
  Holders& holders = holders_[number];
  if (mode == Mode::kExclusive) {
    holders.exclusive = true;
  } else {
    holders.shared = 1;
  }
  return true;
}

void LockFile::release(std::uint64_t number, bool exclusive) {
  // After fork() the locks are the parent's, through the description that both share.
  if (::getpid() != process_) return;
  const std::lock_guard lock(mutex_);
  const auto found = holders_.find(number);
  if (!exclusive && --found->second.shared != 0) return;
  holders_.erase(found);
  set_lock(file_->descriptor(), number, F_UNLCK);
}

LockFile::Lease& LockFile::Lease::operator=(Lease&& other) noexcept {
  release();
  file_ = std::move(other.file_);
  other.file_.reset();
  number_ = other.number_;
  exclusive_ = other.exclusive_;
  return *this;
}

void LockFile::Lease::release() {
  if (file_ != nullptr) file_->release(number_, exclusive_);
  file_.reset();
}

}  // namespace snowglobe::snapshots
