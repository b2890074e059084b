// tests/snapshots/world.cc - see world.h.
#include "tests/snapshots/world.h"

#include "tests/snapshots/fault_vfs.h"

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <unistd.h>

namespace snowglobe::snapshots::testing_world {

StoreOptions quick_options(base::FileSystem* files) {
  StoreOptions options;
  options.chunk_bytes = kChunk;
  options.threads = 0;
  options.wait_limit = std::chrono::milliseconds(50);
  options.files = files;
  if (files != nullptr) options.sqlite_vfs = kFaultVfs;
  return options;
}

std::unique_ptr<Store> open_store(const std::filesystem::path& folder, StoreOptions options) {
  auto store = Store::open_folder(folder, options);
  if (!store.ok()) {
    ADD_FAILURE() << store.error().message;
    return nullptr;
  }
  return std::move(store).value();
}

std::uint64_t Dice::next() {
  state_ += 0x9E3779B97F4A7C15;
  std::uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

Bytes some_chunk(Dice& dice, std::size_t length) {
  Bytes bytes(length);
  switch (dice.below(4)) {
    case 0:
      break;
    case 1:
      std::fill(bytes.begin(), bytes.end(), static_cast<std::uint8_t>(1 + dice.below(5)));
      break;
    case 2:
      for (std::size_t i = 0; i < length; i += 1 + dice.below(40))
        bytes[i] = static_cast<std::uint8_t>(dice.next());
      break;
    default:
      for (std::uint8_t& byte : bytes)
        byte = static_cast<std::uint8_t>(dice.next());
  }
  return bytes;
}

Bytes some_bytes(Dice& dice, std::size_t length) {
  Bytes bytes;
  while (bytes.size() < length) {
    const Bytes chunk = some_chunk(dice, std::min<std::size_t>(kChunk, length - bytes.size()));
    bytes.insert(bytes.end(), chunk.begin(), chunk.end());
  }
  return bytes;
}

namespace {

base::Result<void> put_changes(Writer& writer, const std::string& name, const Bytes& now,
                               const Bytes& before) {
  auto object = writer.object(name, now.size());
  if (!object.ok()) return object.error();
  for (std::size_t at = 0; at < now.size(); at += kChunk) {
    const std::size_t length = std::min<std::size_t>(kChunk, now.size() - at);
    const auto ours = base::ConstBytes(now).subspan(at, length);
    // Zeros follow the end of what was there: the writer extends with them.
    Bytes theirs(length);
    if (at < before.size()) {
      std::copy_n(before.begin() + static_cast<std::ptrdiff_t>(at),
                  std::min(length, before.size() - at), theirs.begin());
    }
    if (std::equal(ours.begin(), ours.end(), theirs.begin())) continue;
    if (auto put = writer.put(object.value(), at / kChunk, ours); !put.ok()) return put;
  }
  return {};
}

}  // namespace

base::Result<SnapshotInfo> save(Store& store, const Model& now, const Metadata& metadata,
                                std::optional<SnapshotId> parent, const Model& before,
                                const Writer::CommitOptions& options) {
  auto writer = store.begin(parent);
  if (!writer.ok()) return writer.error();
  for (const auto& [name, bytes] : before) {
    if (now.count(name) != 0) continue;
    if (auto dropped = writer.value().drop(name); !dropped.ok()) return dropped.error();
  }
  for (const auto& [name, bytes] : now) {
    const auto old = before.find(name);
    auto put =
        put_changes(writer.value(), name, bytes, old != before.end() ? old->second : Bytes());
    if (!put.ok()) return put.error();
  }
  return writer.value().commit(metadata, options);
}

std::string difference(const Store& store, const SnapshotId& id, const Model& expected) {
  auto reader = store.open(id);
  if (!reader.ok()) return reader.error().message;
  if (reader.value().objects().size() != expected.size()) return "another number of objects";
  for (const auto& [name, bytes] : expected) {
    auto read = reader.value().read_object(name);
    if (!read.ok()) return read.error().message;
    if (read.value() != bytes) return fmt::format("'{}' has other contents", name);
  }
  return {};
}

void expect_clean(const Store& store) {
  auto report = store.verify();
  ASSERT_TRUE(report.ok()) << report.error().message;
  for (const Damage& damage : report.value().damage)
    ADD_FAILURE() << damage.what;
}

}  // namespace snowglobe::snapshots::testing_world
