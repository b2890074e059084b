// tests/snapshots/fault_files.cc - see fault_files.h.
#include "tests/snapshots/fault_files.h"

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

class FaultFile final : public test::ForwardingFile {
 public:
  FaultFile(FaultFiles& world, std::unique_ptr<base::File> file, base::FileSystem::Path path)
      : ForwardingFile(std::move(file)), world_(world), path_(std::move(path)) {}

  base::Result<void> write(std::uint64_t offset, std::span<const base::ConstBytes> parts) override {
    world_.note_write(path_.string());
    std::vector<std::uint8_t> bytes;
    for (const base::ConstBytes part : parts)
      bytes.insert(bytes.end(), part.begin(), part.end());
    switch (world_.operation(bytes.size())) {
      case FaultFiles::Outcome::kDone:
        return ForwardingFile::write(offset, parts);
      case FaultFiles::Outcome::kFull:
        return base::os_error("write", path_, ENOSPC);
      case FaultFiles::Outcome::kTorn: {
        bytes.resize(std::min(bytes.size(), world_.torn()));
        const base::ConstBytes torn = bytes;
        static_cast<void>(ForwardingFile::write(offset, {&torn, 1}));
        break;
      }
      case FaultFiles::Outcome::kError:
        break;
    }
    return base::os_error("write", path_, EIO);
  }
  void begin_write_back(std::uint64_t, std::uint64_t) override {}
  base::Result<void> sync() override {
    if (world_.operation(0) != FaultFiles::Outcome::kDone) {
      return base::os_error("sync", path_, EIO);
    }
    world_.note_sync(path_.string());
    return {};
  }

 private:
  FaultFiles& world_;
  const base::FileSystem::Path path_;
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
  if (operation(0) == Outcome::kDone) return {};
  return base::os_error(what, path, EIO);
}

base::Result<std::unique_ptr<base::File>> FaultFiles::create(const Path& path) {
  if (auto allowed = check("create", path); !allowed.ok()) return allowed.error();
  auto file = host().create(path);
  if (!file.ok()) return file;
  created_.push_back(path.string());
  return std::unique_ptr<base::File>(
      std::make_unique<FaultFile>(*this, std::move(file).value(), path));
}

base::Result<void> FaultFiles::rename(const Path& from, const Path& to) {
  if (auto allowed = check("rename to", to); !allowed.ok()) return allowed;
  std::erase(created_, from.string());
  written_.erase(from.string());
  return host().rename(from, to);
}

base::Result<void> FaultFiles::remove(const Path& path) {
  if (auto allowed = check("remove", path); !allowed.ok()) return allowed;
  std::erase(created_, path.string());
  written_.erase(path.string());
  return host().remove(path);
}

base::Result<void> FaultFiles::make_directory(const Path& path) {
  if (auto allowed = check("make the folder", path); !allowed.ok()) return allowed;
  return host().make_directory(path);
}

base::Result<void> FaultFiles::sync_directory(const Path& path) {
  if (auto allowed = check("sync the folder", path); !allowed.ok()) return allowed;
  std::erase_if(created_,
                [&](const std::string& created) { return Path(created).parent_path() == path; });
  return {};
}

}  // namespace snowglobe::snapshots::testing_world
