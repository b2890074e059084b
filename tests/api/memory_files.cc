// tests/api/memory_files.cc - files in memory, their journal, and what power cuts make of it.
#include "tests/api/memory_files.h"

#include "vm/types.h"

#include <algorithm>
#include <thread>

namespace snowglobe::detail::test {
namespace {

using base::Error;
using base::ErrorCode;
using vm::u64;

constexpr u64 kPage = 4096;
constexpr u64 kSector = 512;

/// A file's contents and which pages are no holes.
struct Contents {
  MemoryFiles::Bytes bytes;
  std::vector<bool> data;

  void resize(u64 size) {
    bytes.resize(size);
    data.resize((size + kPage - 1) / kPage);
  }
  void write(u64 offset, base::ConstBytes from) {
    if (from.empty()) return;
    if (bytes.size() < offset + from.size()) resize(offset + from.size());
    std::copy(from.begin(), from.end(), bytes.begin() + static_cast<std::ptrdiff_t>(offset));
    for (u64 page = offset / kPage; page <= (offset + from.size() - 1) / kPage; ++page)
      data[page] = true;
  }
  void punch(u64 offset, u64 length) {
    std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), length, std::uint8_t{0});
    for (u64 page = (offset + kPage - 1) / kPage; (page + 1) * kPage <= offset + length; ++page)
      data[page] = false;
  }
};

}  // namespace

struct MemoryFiles::Inode {
  u64 number = 0;
  Contents now;
};

/// What was done, to a file by its number or to names.
struct MemoryFiles::Operation {
  enum What { kWriteBytes, kPunchHole, kSetSize, kSynced, kLost, kName, kNoName, kFolderSynced };
  What what;
  u64 inode = 0;
  u64 offset = 0, length = 0;
  Bytes bytes{};
  std::string name{};  ///< kName: now names `inode`; kNoName: names nothing
};

/// What is durable, and what may be.
struct MemoryFiles::World {
  std::map<u64, Contents> durable;
  std::map<u64, std::vector<const Operation*>> pending;  ///< of contents, by inode
  std::map<std::string, u64> names;
  std::vector<const Operation*> pending_names;

  static void apply(const Operation& operation, Contents& to) {
    switch (operation.what) {
      case Operation::kWriteBytes:
        to.write(operation.offset, operation.bytes);
        break;
      case Operation::kPunchHole:
        to.punch(operation.offset, operation.length);
        break;
      case Operation::kSetSize:
        to.resize(operation.length);
        break;
      default:
        break;
    }
  }
  void apply_name(const Operation& operation) {
    if (operation.what == Operation::kName) {
      names[operation.name] = operation.inode;
    } else {
      names.erase(operation.name);
    }
  }
  void sync(u64 inode) {
    for (const Operation* operation : pending[inode])
      apply(*operation, durable[inode]);
    pending[inode].clear();
  }
};

class MemoryFiles::File final : public base::File {
 public:
  File(MemoryFiles& files, std::shared_ptr<Inode> inode)
      : files_(files), inode_(std::move(inode)) {}

  base::Result<bool> read(u64 offset, std::span<const base::Bytes> parts, Wait wait) override {
    const std::lock_guard lock(files_.mutex_);
    if (auto refused = files_.refuse(kRead, "read"); !refused) return refused.error();
    if (wait == Wait::kNo && files_.cold_ != 0 && files_.random_.next() % files_.cold_ == 0)
      return false;
    for (const base::Bytes part : parts) {
      if (!base::range_fits(offset, part.size(), inode_->now.bytes.size()))
        return Error{ErrorCode::kCorrupt, "read: the file was cut off"};
      std::copy_n(inode_->now.bytes.begin() + static_cast<std::ptrdiff_t>(offset), part.size(),
                  part.begin());
      offset += part.size();
    }
    return true;
  }

  base::Result<void> write(u64 offset, std::span<const base::ConstBytes> parts) override {
    const std::lock_guard lock(files_.mutex_);
    std::this_thread::sleep_for(files_.write_time_);
    Bytes all;
    for (const base::ConstBytes part : parts)
      all.insert(all.end(), part.begin(), part.end());
    auto refused = files_.refuse(kWrite, "write");
    if (!refused && !files_.tear_) return refused;
    if (!refused) all.resize(all.size() / 2 / kSector * kSector);
    note({.what = Operation::kWriteBytes,
          .inode = inode_->number,
          .offset = offset,
          .length = all.size(),
          .bytes = all});
    return refused;
  }

  void begin_write_back(u64, u64) override {
    const std::lock_guard lock(files_.mutex_);
    ++files_.calls_[kWriteBack];
  }

  base::Result<void> sync() override {
    std::unique_lock lock(files_.mutex_);
    files_.released_.wait(lock, [this] { return !files_.hold_syncs_; });
    auto refused = files_.refuse(kSync, "sync");
    note({.what = refused ? Operation::kSynced : Operation::kLost, .inode = inode_->number});
    return refused;
  }

  base::Result<bool> punch(u64 offset, u64 length) override {
    const std::lock_guard lock(files_.mutex_);
    if (auto refused = files_.refuse(kPunch, "punch a hole"); !refused) return refused.error();
    if (files_.no_holes_) return false;
    note({.what = Operation::kPunchHole,
          .inode = inode_->number,
          .offset = offset,
          .length = length});
    return true;
  }

  base::Result<void> set_size(u64 bytes) override {
    const std::lock_guard lock(files_.mutex_);
    if (auto refused = files_.refuse(kSize, "set the size"); !refused) return refused;
    note({.what = Operation::kSetSize, .inode = inode_->number, .length = bytes});
    return {};
  }

  base::Result<u64> size() override {
    const std::lock_guard lock(files_.mutex_);
    return inode_->now.bytes.size();
  }
  base::Result<u64> allocated() override {
    const std::lock_guard lock(files_.mutex_);
    const auto& data = inode_->now.data;
    return static_cast<u64>(std::count(data.begin(), data.end(), true)) * kPage;
  }

  std::optional<std::pair<u64, u64>> next_data(u64 from, u64 end) override {
    const std::lock_guard lock(files_.mutex_);
    const auto& data = inode_->now.data;
    u64 page = from / kPage;
    const u64 pages = std::min<u64>(data.size(), (end + kPage - 1) / kPage);
    while (page < pages && !data[page])
      ++page;
    if (page >= pages) return std::nullopt;
    u64 last = page;
    while (last < pages && data[last])
      ++last;
    return std::pair(std::max(from, page * kPage), std::min(end, last * kPage));
  }

  [[nodiscard]] Identity identity() const override {
    return {reinterpret_cast<std::uintptr_t>(&files_), inode_->number};
  }
  [[nodiscard]] int descriptor() const override { return -1; }

 private:
  void note(Operation operation) {
    World::apply(operation, inode_->now);
    files_.journal_.push_back(std::make_unique<Operation>(std::move(operation)));
  }

  MemoryFiles& files_;
  const std::shared_ptr<Inode> inode_;
};

MemoryFiles::MemoryFiles(u64 seed) : random_(seed) {}

MemoryFiles::MemoryFiles(const Image& image, u64 seed) : first_(image), random_(seed) {
  for (const auto& [name, bytes] : image) {
    const auto inode = std::make_shared<Inode>();
    inode->number = next_inode_++;
    inode->now.write(0, bytes);
    for (u64 page = 0; (page + 1) * kPage <= bytes.size(); ++page)
      inode->now.data[page] = !base::all_zero(base::ConstBytes(bytes).subspan(page * kPage, kPage));
    names_[name] = inode;
  }
}

MemoryFiles::~MemoryFiles() = default;

// --- names

base::Result<std::unique_ptr<base::File>> MemoryFiles::create(const Path& path) {
  const std::lock_guard lock(mutex_);
  if (auto refused = refuse(kNames, "create"); !refused) return refused.error();
  if (names_.contains(path)) return Error{ErrorCode::kAlreadyExists, "create: it is there"};
  const auto inode = std::make_shared<Inode>();
  inode->number = next_inode_++;
  names_[path] = inode;
  journal_.push_back(std::make_unique<Operation>(
      Operation{.what = Operation::kName, .inode = inode->number, .name = path}));
  return std::unique_ptr<base::File>(std::make_unique<File>(*this, inode));
}

base::Result<std::unique_ptr<base::File>> MemoryFiles::open(const Path& path, Access) {
  const std::lock_guard lock(mutex_);
  if (auto refused = refuse(kNames, "open"); !refused) return refused.error();
  const auto found = names_.find(path);
  if (found == names_.end()) return Error{ErrorCode::kNotFound, "open: it is not there"};
  return std::unique_ptr<base::File>(std::make_unique<File>(*this, found->second));
}

base::Result<void> MemoryFiles::rename(const Path& from, const Path& to) {
  const std::lock_guard lock(mutex_);
  if (auto refused = refuse(kNames, "rename"); !refused) return refused;
  const auto found = names_.find(from);
  if (found == names_.end()) return Error{ErrorCode::kNotFound, "rename: it is not there"};
  // One step on disk; here the new name first, so that a cut between the two leaves both.
  journal_.push_back(std::make_unique<Operation>(
      Operation{.what = Operation::kName, .inode = found->second->number, .name = to}));
  journal_.push_back(
      std::make_unique<Operation>(Operation{.what = Operation::kNoName, .name = from}));
  names_[to] = found->second;
  names_.erase(from);
  return {};
}

base::Result<void> MemoryFiles::remove(const Path& path) {
  const std::lock_guard lock(mutex_);
  if (auto refused = refuse(kNames, "remove"); !refused) return refused;
  if (names_.erase(path) == 0) return Error{ErrorCode::kNotFound, "remove: it is not there"};
  journal_.push_back(
      std::make_unique<Operation>(Operation{.what = Operation::kNoName, .name = path}));
  return {};
}

base::Result<void> MemoryFiles::sync_directory(const Path&) {
  const std::lock_guard lock(mutex_);
  if (auto refused = refuse(kFolder, "sync the folder"); !refused) return refused;
  journal_.push_back(std::make_unique<Operation>(Operation{.what = Operation::kFolderSynced}));
  return {};
}

base::Result<void> MemoryFiles::make_directory(const Path&) {
  return {};  // they are all there
}

base::Result<std::vector<std::string>> MemoryFiles::list(const Path& path) {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [name, inode] : names_) {
    if (Path(name).parent_path() == path) names.push_back(Path(name).filename().string());
  }
  return names;
}

bool MemoryFiles::exists(const Path& path) {
  const std::lock_guard lock(mutex_);
  return names_.contains(path);
}

// --- cuts

std::size_t MemoryFiles::now() const {
  const std::lock_guard lock(mutex_);
  return journal_.size();
}

/// The files as far as they are durable, and the rest, which `random` chooses from (null: all).
std::unique_ptr<MemoryFiles::World> MemoryFiles::replay(std::size_t point,
                                                        base::RandomSource* random) const {
  const std::lock_guard lock(mutex_);
  auto world = std::make_unique<World>();
  u64 number = 0;
  for (const auto& [name, bytes] : first_) {
    world->durable[++number].write(0, bytes);
    world->names[name] = number;
  }
  for (std::size_t i = 0; i < point; ++i) {
    const Operation& operation = *journal_[i];
    switch (operation.what) {
      case Operation::kSynced:
        world->sync(operation.inode);
        break;
      case Operation::kLost:
        if (random != nullptr) world->pending[operation.inode].clear();
        break;
      case Operation::kName:
      case Operation::kNoName:
        world->pending_names.push_back(&operation);
        break;
      case Operation::kFolderSynced:
        for (const Operation* pending : world->pending_names)
          world->apply_name(*pending);
        world->pending_names.clear();
        break;
      default:
        world->pending[operation.inode].push_back(&operation);
    }
  }
  return world;
}

MemoryFiles::Image MemoryFiles::after_kill(std::size_t point) const {
  const auto world = replay(point, nullptr);
  for (const Operation* operation : world->pending_names)
    world->apply_name(*operation);
  Image image;
  for (const auto& [name, inode] : world->names) {
    world->sync(inode);
    image[name] = world->durable[inode].bytes;
  }
  return image;
}

MemoryFiles::Image MemoryFiles::after_cut(std::size_t point, base::RandomSource& random) const {
  const auto world = replay(point, &random);
  // Names come in their order, as journals of file systems keep it; how far they came is open.
  const u64 names = random.next() % (world->pending_names.size() + 1);
  for (std::size_t i = 0; i < names; ++i)
    world->apply_name(*world->pending_names[i]);
  for (auto& [inode, operations] : world->pending) {
    const u64 likely = random.next() % 5;  // from nothing to everything
    for (const Operation* operation : operations) {
      if (random.next() % 4 >= likely) continue;
      Operation torn = *operation;
      const bool whole = random.next() % 3 != 0 || operation->what == Operation::kSetSize;
      for (u64 at = 0; !whole && at < operation->length; at += kSector) {
        if (random.next() % 2 == 0) continue;
        const u64 length = std::min(kSector, operation->length - at);
        torn.offset = operation->offset + at;
        torn.length = length;
        if (operation->what == Operation::kWriteBytes) {
          const auto begin = operation->bytes.begin() + static_cast<std::ptrdiff_t>(at);
          torn.bytes.assign(begin, begin + static_cast<std::ptrdiff_t>(length));
        }
        World::apply(torn, world->durable[inode]);
      }
      if (whole) World::apply(torn, world->durable[inode]);
    }
  }
  Image image;
  for (const auto& [name, inode] : world->names)
    image[name] = world->durable[inode].bytes;
  return image;
}

// --- faults

void MemoryFiles::fail_nth(u64 n, unsigned kinds) {
  const std::lock_guard lock(mutex_);
  fail_in_ = n;
  fail_kinds_ = kinds;
  tear_ = struck_ = false;
}

void MemoryFiles::tear_nth(u64 n) {
  fail_nth(n, kWrite);
  const std::lock_guard lock(mutex_);
  tear_ = true;
}

bool MemoryFiles::struck() const {
  const std::lock_guard lock(mutex_);
  return struck_;
}

void MemoryFiles::set_cold(u64 chance) {
  const std::lock_guard lock(mutex_);
  cold_ = chance;
}

void MemoryFiles::set_write_time(std::chrono::milliseconds time) {
  const std::lock_guard lock(mutex_);
  write_time_ = time;
}

void MemoryFiles::hold_syncs(bool hold) {
  const std::lock_guard lock(mutex_);
  hold_syncs_ = hold;
  released_.notify_all();
}

u64 MemoryFiles::calls(Kind kind) const {
  const std::lock_guard lock(mutex_);
  const auto found = calls_.find(kind);
  return found == calls_.end() ? 0 : found->second;
}

bool MemoryFiles::fails(Kind kind) {
  ++calls_[kind];
  if (fail_in_ == 0 || (fail_kinds_ & kind) == 0 || --fail_in_ != 0) return false;
  struck_ = true;
  return true;
}

base::Result<void> MemoryFiles::refuse(Kind kind, const char* what) {
  if (!fails(kind)) return {};
  return Error{ErrorCode::kIo, std::string(what) + ": told to fail"};
}

}  // namespace snowglobe::detail::test
