// tests/support/faulty_files.h - the host's files, with calls that fail when told: the n-th one, or
// all from the n-th on.
#pragma once

#include "tests/support/forwarding_files.h"

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace snowglobe::test {

/// Counts calls, and has them fail. Thread rule: any thread.
class Fault {
 public:
  enum class Kind : std::uint8_t { kOne, kAllFrom };

  /// `spare_reads`: they neither count nor fail.
  void arm(int at, Kind kind = Kind::kOne, bool spare_reads = false) {
    spare_reads_ = spare_reads;
    kind_ = kind;
    left_ = at;
  }
  void disarm() { arm(1 << 30); }
  [[nodiscard]] bool struck() const { return left_ <= 0; }

  [[nodiscard]] bool now() {
    const int before = left_.fetch_sub(1);
    return before == 1 || (before < 1 && kind_ == Kind::kAllFrom);
  }
  [[nodiscard]] bool now_reading() { return !spare_reads_ && now(); }
  static base::Error error(const char* what) {
    return {base::ErrorCode::kIo, std::string(what) + ": injected Input/output error"};
  }

 private:
  std::atomic<int> left_ = 1 << 30;
  std::atomic<Kind> kind_ = Kind::kOne;
  std::atomic<bool> spare_reads_ = false;
};

class FaultyFile final : public ForwardingFile {
 public:
  FaultyFile(std::unique_ptr<base::File> file, Fault& fault)
      : ForwardingFile(std::move(file)), fault_(fault) {}
  base::Result<bool> read(std::uint64_t offset, std::span<const base::Bytes> parts,
                          Wait wait) override {
    if (fault_.now_reading()) return Fault::error("read");
    return ForwardingFile::read(offset, parts, wait);
  }
  base::Result<void> write(std::uint64_t offset, std::span<const base::ConstBytes> parts) override {
    if (fault_.now()) return Fault::error("write");
    return ForwardingFile::write(offset, parts);
  }
  base::Result<void> sync() override {
    if (fault_.now()) return Fault::error("sync");
    return ForwardingFile::sync();
  }
  base::Result<bool> punch(std::uint64_t offset, std::uint64_t length) override {
    if (fault_.now()) return Fault::error("punch");
    return ForwardingFile::punch(offset, length);
  }
  base::Result<void> set_size(std::uint64_t bytes) override {
    if (fault_.now()) return Fault::error("grow");
    return ForwardingFile::set_size(bytes);
  }

 private:
  Fault& fault_;
};

class FaultyFiles final : public ForwardingFileSystem {
 public:
  explicit FaultyFiles(Fault& fault) : fault_(fault) {}
  base::Result<std::unique_ptr<base::File>> create(const Path& path) override {
    if (fault_.now()) return Fault::error("create");
    return wrap(ForwardingFileSystem::create(path));
  }
  base::Result<std::unique_ptr<base::File>> open(const Path& path, Access access) override {
    if (fault_.now()) return Fault::error("open");
    return wrap(ForwardingFileSystem::open(path, access));
  }
  base::Result<void> rename(const Path& from, const Path& to) override {
    if (fault_.now()) return Fault::error("rename");
    return ForwardingFileSystem::rename(from, to);
  }
  base::Result<void> remove(const Path& path) override {
    if (fault_.now()) return Fault::error("remove");
    return ForwardingFileSystem::remove(path);
  }
  base::Result<void> make_directory(const Path& path) override {
    if (fault_.now()) return Fault::error("make the folder");
    return ForwardingFileSystem::make_directory(path);
  }
  base::Result<void> sync_directory(const Path& path) override {
    if (fault_.now()) return Fault::error("sync of the folder");
    return ForwardingFileSystem::sync_directory(path);
  }
  base::Result<std::vector<std::string>> list(const Path& path) override {
    if (fault_.now()) return Fault::error("list");
    return ForwardingFileSystem::list(path);
  }

 private:
  base::Result<std::unique_ptr<base::File>> wrap(base::Result<std::unique_ptr<base::File>> file) {
    if (!file) return file;
    return std::unique_ptr<base::File>(
        std::make_unique<FaultyFile>(std::move(file).value(), fault_));
  }

  Fault& fault_;
};

}  // namespace snowglobe::test
