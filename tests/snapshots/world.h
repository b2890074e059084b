// tests/snapshots/world.h - what the tests of the store share: folders that go away, contents to
// save and compare, options without waiting.
#pragma once

#include "base/file_system.h"
#include "snapshots/store.h"
#include "tests/support/temporary_folder.h"

#include <cstdint>
#include <filesystem>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace snowglobe::snapshots::testing_world {

using Bytes = std::vector<std::uint8_t>;
/// Object by object all bytes: what a snapshot is to the tests.
using Model = std::map<std::string, Bytes>;

inline constexpr std::uint32_t kChunk = kMinChunkBytes;

class TemporaryFolder : public test::TemporaryFolder {
 public:
  TemporaryFolder() : test::TemporaryFolder(test::place_in_memory()) {}
};

/// Small chunks, short waits, no threads.
StoreOptions quick_options(base::FileSystem* files = nullptr);

std::unique_ptr<Store> open_store(const std::filesystem::path& folder, StoreOptions options);

/// SplitMix64.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next();
  std::uint64_t below(std::uint64_t limit) { return next() % limit; }

 private:
  std::uint64_t state_;
};

/// A chunk's worth: zeros, text, noise, or one of a few that come again and again.
Bytes some_chunk(Dice& dice, std::size_t length);
Bytes some_bytes(Dice& dice, std::size_t length);

/// Saves `now`, of which `before` (the parent's contents) is known to be stored.
base::Result<SnapshotInfo> save(Store& store, const Model& now, const Metadata& metadata,
                                std::optional<SnapshotId> parent = {}, const Model& before = {},
                                const Writer::CommitOptions& options = {});

/// Nothing if `id` reads as `expected`, else the first difference or error.
std::string difference(const Store& store, const SnapshotId& id, const Model& expected);

/// Fails the test if verify() finds anything.
void expect_clean(const Store& store);

}  // namespace snowglobe::snapshots::testing_world
