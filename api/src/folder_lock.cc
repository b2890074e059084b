// api/src/folder_lock.cc - who has a database's folder.
#include "api/src/folder_lock.h"

#include "api/src/errors.h"
#include <snowglobe/error.hpp>

#include <array>
#include <cerrno>
#include <condition_variable>
#include <ctime>
#include <fcntl.h>
#include <fstream>
#include <map>
#include <mutex>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace snowglobe::detail {
namespace {

namespace fs = std::filesystem;

using Holder = FolderLock::Holder;

std::string program_of(int pid) {
  std::ifstream stream("/proc/" + std::to_string(pid) + "/comm");
  std::string name;
  std::getline(stream, name);
  return name;
}

std::string text_of(const Holder& holder) {
  return "pid " + std::to_string(holder.pid) + "\nprogram " + holder.program + "\nsince " +
         holder.since + "\n";
}

/// What a holder wrote into the file; of an earlier one, if nobody has written since.
Holder parse(int file) {
  std::array<char, 512> bytes{};
  const ssize_t got = ::pread(file, bytes.data(), bytes.size(), 0);
  Holder holder;
  std::string_view text(bytes.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const std::size_t space = line.find(' ');
    if (space == std::string_view::npos) continue;
    const std::string value(line.substr(space + 1));
    if (line.starts_with("pid ")) holder.pid = std::atoi(value.c_str());
    if (line.starts_with("program ")) holder.program = value;
    if (line.starts_with("since ")) holder.since = value;
  }
  return holder;
}

struct flock whole_file(FolderLock::Kind kind) {
  struct flock lock {};
  lock.l_type = kind == FolderLock::Kind::exclusive ? F_WRLCK : F_RDLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

/// Who keeps us out, as the kernel says, with his own words if they are his.
Holder other_holder(int file, FolderLock::Kind kind) {
  struct flock lock = whole_file(kind);
  if (::fcntl(file, F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK) return parse(file);
  Holder holder = parse(file);
  if (holder.pid == lock.l_pid || lock.l_pid <= 0) return holder;  // 0: in another namespace
  return {lock.l_pid, program_of(lock.l_pid), {}};
}

[[noreturn]] void refuse(const fs::path& folder, const Holder& holder, bool here) {
  std::string text = "the database '" + folder.string() + "' is open";
  if (here) {
    text += " in this process already";
  } else if (holder.pid > 0) {
    text += " in process " + std::to_string(holder.pid);
  } else {
    text += " in another process";
  }
  if (!here && !holder.program.empty()) text += " (" + holder.program + ")";
  if (!holder.since.empty()) text += " since " + holder.since;
  text += "; close it there, or open both with Options::read_only";
  throw DatabaseLocked(text, holder.pid, holder.program, holder.since);
}

}  // namespace

std::string now_utc() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  const std::size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return {text.data(), length};
}

/// One for all shared locks of a process.
struct FolderLock::Held {
  using Key = std::pair<dev_t, ino_t>;

  Held(Kind with, const Key& folder)
      : kind(with), holder{::getpid(), program_of(::getpid()), now_utc()}, key(folder) {}
  ~Held();
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

  const Kind kind;
  const Holder holder;
  const Key key;
  std::unique_ptr<base::File> file;
  bool locked = false;
  int opens = 0;  ///< FolderLocks; under the table's mutex. None: only leases are left
};

struct FolderLock::Table {
  struct Entry {
    std::weak_ptr<Held> held;
    pid_t owner = 0;
  };

  std::mutex mutex;
  std::condition_variable changed;
  std::map<Held::Key, Entry> held;  ///< removed once the descriptor is closed, and no sooner
};

FolderLock::Table& FolderLock::table() {
  static Table* const all = new Table;  // databases may outlive static destructors
  return *all;
}

FolderLock::Held::~Held() {
  if (holder.pid != ::getpid()) {
    static_cast<void>(file.release());  // a forked child's copy; it holds nothing
    return;
  }
  Table& all = table();
  const std::lock_guard lock(all.mutex);
  // Who comes next finds an empty file, or writes himself into it.
  if (locked && kind == Kind::exclusive) static_cast<void>(file->set_size(0));
  file.reset();  // with it goes the lock
  all.held.erase(key);
  all.changed.notify_all();
}

FolderLock::FolderLock(base::FileSystem& files, const fs::path& folder, Kind kind) {
  struct stat status {};
  if (::stat(folder.c_str(), &status) != 0) {
    throw_error(base::os_error("look at", folder, errno));
  }
  Table& all = table();
  const Held::Key key{status.st_dev, status.st_ino};
  std::shared_ptr<Held> held;  // outlives the lock: see its destructor
  std::unique_lock lock(all.mutex);
  for (;;) {
    const auto known = all.held.find(key);
    // What the parent of a forked process had is not ours.
    if (known == all.held.end() || known->second.owner != ::getpid()) break;
    held = known->second.held.lock();
    if (held) break;
    all.changed.wait(lock);  // it is being closed
  }
  if (held && held->opens > 0 && (kind == Kind::exclusive || held->kind == Kind::exclusive)) {
    refuse(folder, held->holder, true);
  }
  if (!held || (kind == Kind::exclusive && held->kind == Kind::shared)) {
    if (held) refuse(folder, held->holder, true);
    held = std::make_shared<Held>(kind, key);
    take(files, folder, *held);
    all.held[key] = {held, ::getpid()};
  }
  ++held->opens;
  held_ = std::move(held);
}

std::optional<Holder> FolderLock::holder(const fs::path& folder) {
  struct stat status {};
  if (::stat(folder.c_str(), &status) != 0) return std::nullopt;
  Table& all = table();
  const std::lock_guard lock(all.mutex);
  const auto known = all.held.find({status.st_dev, status.st_ino});
  if (known != all.held.end() && known->second.owner == ::getpid()) {
    // Looking at the file from here would end the lock.
    return Holder{::getpid(), program_of(::getpid()), {}};
  }
  const auto file = base::FileSystem::host().open(folder / "lock", base::FileSystem::Access::kRead);
  if (!file) return std::nullopt;
  const int descriptor = file.value()->descriptor();
  struct flock wanted = whole_file(Kind::exclusive);
  if (::fcntl(descriptor, F_GETLK, &wanted) != 0 || wanted.l_type == F_UNLCK) return std::nullopt;
  return other_holder(descriptor, Kind::exclusive);
}

void FolderLock::take(base::FileSystem& files, const fs::path& folder, Held& held) {
  const fs::path name = folder / "lock";
  const bool shared = held.kind == Kind::shared;
  auto opened =
      shared ? files.open(name, base::FileSystem::Access::kRead) : files.open_or_create(name);
  if (!opened) {
    if (shared) return;  // nobody could lock it from here for writing either
    if (::access(folder.c_str(), W_OK) != 0) {
      throw DatabaseError(opened.error().message +
                          "; nothing can be written there: open it with Options::read_only");
    }
    throw_error(opened.error());
  }
  held.file = std::move(opened).value();
  const int descriptor = held.file->descriptor();
  struct flock wanted = whole_file(held.kind);
  if (::fcntl(descriptor, F_SETLK, &wanted) != 0) {
    const int reason = errno;
    if (reason == EACCES || reason == EAGAIN) {
      refuse(folder, other_holder(descriptor, held.kind), false);
    }
    throw_error(base::os_error("lock", name, reason));
  }
  held.locked = true;
  if (shared) return;
  // Only for who asks: the lock is held without it, as on a disk that is full.
  const std::string text = text_of(held.holder);
  if (held.file->set_size(0)) static_cast<void>(held.file->write_at(0, base::bytes_of(text)));
}

FolderLock::~FolderLock() {
  if (!held_ || held_->holder.pid != ::getpid()) return;
  const std::lock_guard lock(table().mutex);
  --held_->opens;
  // held_ itself goes after the guard: its destructor locks the table.
}

}  // namespace snowglobe::detail
