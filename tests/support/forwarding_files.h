// tests/support/forwarding_files.h - files and a file system that hand everything on: for tests
// that change some of it.
#pragma once

#include "base/file_system.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace snowglobe::test {

class ForwardingFile : public base::File {
 public:
  explicit ForwardingFile(std::unique_ptr<base::File> file) : file_(std::move(file)) {}

  base::Result<bool> read(std::uint64_t offset, std::span<const base::Bytes> parts,
                          Wait wait) override {
    return file_->read(offset, parts, wait);
  }
  base::Result<void> write(std::uint64_t offset, std::span<const base::ConstBytes> parts) override {
    return file_->write(offset, parts);
  }
  void begin_write_back(std::uint64_t offset, std::uint64_t length) override {
    file_->begin_write_back(offset, length);
  }
  base::Result<void> sync() override { return file_->sync(); }
  base::Result<bool> punch(std::uint64_t offset, std::uint64_t length) override {
    return file_->punch(offset, length);
  }
  base::Result<void> set_size(std::uint64_t bytes) override { return file_->set_size(bytes); }
  base::Result<std::uint64_t> size() override { return file_->size(); }
  base::Result<std::uint64_t> allocated() override { return file_->allocated(); }
  std::optional<std::pair<std::uint64_t, std::uint64_t>> next_data(std::uint64_t from,
                                                                   std::uint64_t end) override {
    return file_->next_data(from, end);
  }
  [[nodiscard]] Identity identity() const override { return file_->identity(); }
  [[nodiscard]] int descriptor() const override { return file_->descriptor(); }

 private:
  const std::unique_ptr<base::File> file_;
};

/// To the host's.
class ForwardingFileSystem : public base::FileSystem {
 public:
  base::Result<std::unique_ptr<base::File>> create(const Path& path) override {
    return host().create(path);
  }
  base::Result<std::unique_ptr<base::File>> open(const Path& path, Access access) override {
    return host().open(path, access);
  }
  base::Result<void> rename(const Path& from, const Path& to) override {
    return host().rename(from, to);
  }
  base::Result<void> remove(const Path& path) override { return host().remove(path); }
  base::Result<void> make_directory(const Path& path) override {
    return host().make_directory(path);
  }
  base::Result<void> sync_directory(const Path& path) override {
    return host().sync_directory(path);
  }
  base::Result<std::vector<std::string>> list(const Path& path) override {
    return host().list(path);
  }
  bool exists(const Path& path) override { return host().exists(path); }
};

}  // namespace snowglobe::test
