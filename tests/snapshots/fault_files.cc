// tests/snapshots/fault_files.cc - see fault_files.h.
#include "tests/snapshots/fault_files.h"

#include "tests/snapshots/fault_vfs.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>

namespace snowglobe::snapshots::testing_world {

namespace {

std::vector<std::uint8_t> contents_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

class FaultFile final : public File {
 public:
  FaultFile(FaultFiles& world, std::unique_ptr<File> file, FileSystem::Path path)
      : world_(world), file_(std::move(file)), path_(std::move(path)) {}

  base::Result<void> append(base::ConstBytes bytes) override {
    world_.note_write(path_.string());
    switch (world_.operation(bytes.size())) {
      case FaultFiles::Outcome::kDone:
        return file_->append(bytes);
      case FaultFiles::Outcome::kFull:
        return os_error("write", path_, ENOSPC);
      case FaultFiles::Outcome::kTorn:
        static_cast<void>(file_->append(bytes.first(std::min(bytes.size(), world_.torn()))));
        break;
      case FaultFiles::Outcome::kError:
        break;
    }
    return os_error("write", path_, EIO);
  }
  base::Result<void> read_at(std::uint64_t offset, base::Bytes out) override {
    return file_->read_at(offset, out);
  }
  base::Result<void> sync() override {
    if (world_.operation() != FaultFiles::Outcome::kDone) return os_error("sync", path_, EIO);
    world_.note_sync(path_.string());
    return {};
  }
  base::Result<std::uint64_t> size() override { return file_->size(); }

 private:
  FaultFiles& world_;
  const std::unique_ptr<File> file_;
  const FileSystem::Path path_;
};

}  // namespace

FaultFiles::FaultFiles() {
  register_fault_vfs(this);
}
FaultFiles::~FaultFiles() {
  register_fault_vfs(nullptr);
}

void FaultFiles::arm(Fault fault, std::uint64_t at, std::size_t torn) {
  fault_ = fault;
  at_ = at;
  torn_ = torn;
  operations_ = 0;
  struck_ = false;
}

FaultFiles::Outcome FaultFiles::operation(std::uint64_t bytes) {
  ++operations_;
  if (fault_ == Fault::kCut && operations_ > at_) return Outcome::kError;
  if (fault_ != Fault::kNone && operations_ == at_) {
    struck_ = true;
    return fault_ == Fault::kCut ? Outcome::kTorn : Outcome::kError;
  }
  if (bytes > room_) return Outcome::kFull;
  room_ -= bytes;
  return Outcome::kDone;
}

void FaultFiles::note_write(const std::string& path) {
  bool& written = written_[path];
  // What is there before the first write since the last sync is what a power cut brings back.
  if (!written) synced_[path] = contents_of(path);
  written = true;
}

void FaultFiles::note_sync(const std::string& path) {
  written_[path] = false;
}

void FaultFiles::lose_unsynced() {
  for (const auto& [path, written] : written_) {
    if (!written || !std::filesystem::exists(path)) continue;
    const std::vector<std::uint8_t>& kept = synced_[path];
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(kept.data()),
              static_cast<std::streamsize>(kept.size()));
  }
  for (const std::string& path : created_)
    std::filesystem::remove(path);
  written_.clear();
  created_.clear();
}

base::Result<void> FaultFiles::check(const char* what, const Path& path) {
  if (operation() == Outcome::kDone) return {};
  return os_error(what, path, EIO);
}

base::Result<std::unique_ptr<File>> FaultFiles::create(const Path& path) {
  if (auto allowed = check("create", path); !allowed.ok()) return allowed.error();
  auto file = host_.create(path);
  if (!file.ok()) return file;
  created_.push_back(path.string());
  return std::unique_ptr<File>(std::make_unique<FaultFile>(*this, std::move(file).value(), path));
}

base::Result<std::unique_ptr<File>> FaultFiles::open(const Path& path) {
  return host_.open(path);
}

base::Result<void> FaultFiles::rename(const Path& from, const Path& to) {
  if (auto allowed = check("rename to", to); !allowed.ok()) return allowed;
  std::erase(created_, from.string());
  written_.erase(from.string());
  return host_.rename(from, to);
}

base::Result<void> FaultFiles::remove(const Path& path) {
  if (auto allowed = check("remove", path); !allowed.ok()) return allowed;
  std::erase(created_, path.string());
  written_.erase(path.string());
  return host_.remove(path);
}

base::Result<void> FaultFiles::make_directory(const Path& path) {
  if (auto allowed = check("make the folder", path); !allowed.ok()) return allowed;
  return host_.make_directory(path);
}

base::Result<void> FaultFiles::sync_directory(const Path& path) {
  if (auto allowed = check("sync the folder", path); !allowed.ok()) return allowed;
  std::erase_if(created_,
                [&](const std::string& created) { return Path(created).parent_path() == path; });
  return {};
}

}  // namespace snowglobe::snapshots::testing_world
