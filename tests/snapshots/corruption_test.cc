// tests/snapshots/corruption_test.cc - one byte changes, here and there and everywhere: it is
// found, or it did not matter; nothing is ever read back other than it was written.
#include "tests/snapshots/world.h"

#include <fmt/format.h>
#include <fstream>
#include <iterator>

namespace snowglobe::snapshots::testing_world {
namespace {

class CorruptionTest : public testing::Test {
 protected:
  CorruptionTest() {
    auto store = open_store(place(), quick_options());
    Model model;
    Model before;
    std::optional<SnapshotId> parent;
    model["memory"] = some_bytes(dice_, 12 * kChunk + 10);
    for (int i = 0; i < 6; ++i) {
      model["memory"][dice_.below(12) * kChunk] ^= 1;
      model["state"] = some_bytes(dice_, 700);
      const Metadata metadata{.name = fmt::format("name {}", i),
                              .tags = {fmt::format("tag {}", i)},
                              .note = fmt::format("note {}", i),
                              .created = base::Nanoseconds(1000 + i),
                              .properties = {{"key", std::to_string(i)}}};
      const auto info = save(*store, model, metadata, parent, before);
      EXPECT_TRUE(info.ok());
      parent = info.value().id;
      before = model;
      models_[*parent] = model;
    }
    list_ = store->list().value();
    EXPECT_TRUE(store->export_to(file(), {*parent}, {.with_ancestors = true}).ok());
  }

  std::filesystem::path place() const { return folder_.path() / "store"; }
  std::filesystem::path file() const { return folder_.path() / "file.snap"; }

  static Bytes read_all(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }
  static void write_all(const std::filesystem::path& path, const Bytes& bytes) {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(bytes.data()),
              static_cast<std::streamsize>(bytes.size()));
  }

  static bool is_typed(const base::Error& error) {
    return error.code == base::ErrorCode::kCorrupt || error.code == base::ErrorCode::kUnsupported ||
           error.code == base::ErrorCode::kInvalidArgument;
  }

  /// What list() says is what was saved, or it says that something is damaged.
  bool list_is_right_or_refused(const Store& store) {
    const auto list = store.list();
    if (!list.ok()) return is_typed(list.error());
    if (list.value().size() != list_.size()) return false;
    for (std::size_t i = 0; i < list_.size(); ++i) {
      const SnapshotInfo& now = list.value()[i];
      const SnapshotInfo& then = list_[i];
      if (now.id != then.id || now.parent != then.parent || now.objects != then.objects ||
          now.metadata.name != then.metadata.name || now.metadata.tags != then.metadata.tags ||
          now.metadata.note != then.metadata.note || now.raw_bytes != then.raw_bytes ||
          now.metadata.created != then.metadata.created ||
          now.metadata.properties != then.metadata.properties) {
        return false;
      }
    }
    return true;
  }

  /// Reads all snapshots: each gives what was written, or a typed error. True: all could be read.
  bool read_all_snapshots(const Store& store, const std::string& where) {
    bool all = true;
    for (const auto& [id, model] : models_) {
      auto reader = store.open(id);
      if (!reader.ok()) {
        EXPECT_TRUE(is_typed(reader.error()) || reader.error().code == base::ErrorCode::kNotFound)
            << where << reader.error().message;
        all = false;
        continue;
      }
      for (const auto& [name, bytes] : model) {
        auto read = reader.value().read_object(name);
        if (read.ok()) {
          EXPECT_EQ(read.value() == bytes, true) << where << "read back wrongly";
        } else {
          EXPECT_EQ(read.error().code, base::ErrorCode::kCorrupt) << where << read.error().message;
          all = false;
        }
      }
    }
    return all;
  }

  /// Changes a byte of `path`, looks at the store, and puts it back. `must_be_found`: by verify().
  void flip(const std::filesystem::path& path, std::size_t at, bool must_be_found) {
    const Bytes original = read_all(path);
    Bytes changed = original;
    changed[at] ^= static_cast<std::uint8_t>(1 + dice_.below(255));
    write_all(path, changed);
    const std::string where = fmt::format("{} byte {}: ", path.filename().string(), at);
    auto store = Store::open_folder(place(), quick_options());
    if (store.ok()) {
      EXPECT_TRUE(list_is_right_or_refused(*store.value())) << where;
      const bool readable = read_all_snapshots(*store.value(), where);
      const auto report = store.value()->verify();
      EXPECT_TRUE(report.ok()) << where << report.error().message;
      const bool found = !report.ok() || !report.value().clean();
      EXPECT_TRUE(found || (readable && !must_be_found)) << where << "was not noticed";
    } else {
      EXPECT_TRUE(is_typed(store.error())) << where << store.error().message;
    }
    if (store.ok()) store.value() = nullptr;
    write_all(path, original);
  }

  TemporaryFolder folder_;
  Dice dice_{11};
  std::map<SnapshotId, Model> models_;
  std::vector<SnapshotInfo> list_;
};

TEST_F(CorruptionTest, AByteOfAPackThatChangesIsFound) {
  int packs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(place() / "packs")) {
    ++packs;
    const std::size_t size = std::filesystem::file_size(entry.path());
    for (std::size_t at = 0; at < 120 && at < size; at += 3)
      flip(entry.path(), at, true);  // heads
    for (int i = 0; i < 12; ++i)
      flip(entry.path(), dice_.below(size), true);
    flip(entry.path(), size - 1, true);
    if (HasFailure()) return;
  }
  EXPECT_GT(packs, 0);
}

TEST_F(CorruptionTest, AByteOfTheCatalogueThatChangesIsFoundOrDoesNotMatter) {
  const auto catalogue = place() / "catalogue.sqlite";
  const Bytes bytes = read_all(catalogue);
  for (std::size_t at = 0; at < 100; at += 4)
    flip(catalogue, at, false);
  // Most of a page is empty; what is not zero is where it hurts.
  int tried = 0;
  while (tried < 300 && !HasFailure()) {
    const std::size_t at = dice_.below(bytes.size());
    if (bytes[at] == 0 && dice_.below(20) != 0) continue;
    flip(catalogue, at, false);
    ++tried;
  }
}

TEST_F(CorruptionTest, AByteOfTheFormatFileThatChangesIsFound) {
  const std::size_t size = std::filesystem::file_size(place() / "FORMAT");
  for (std::size_t at = 0; at < size; ++at) {
    const Bytes original = read_all(place() / "FORMAT");
    Bytes changed = original;
    changed[at] ^= 1;
    write_all(place() / "FORMAT", changed);
    const auto store = Store::open_folder(place(), quick_options());
    EXPECT_FALSE(store.ok()) << at;
    write_all(place() / "FORMAT", original);
  }
}

TEST_F(CorruptionTest, AByteOfAnExportThatChangesIsFoundAndNothingIsTakenOver) {
  const Bytes original = read_all(file());
  auto target = open_store(folder_.path() / "target", quick_options());
  const auto expect_refused = [&](const Bytes& bytes, const std::string& where) {
    write_all(file(), bytes);
    const auto report = target->import_from(file());
    ASSERT_FALSE(report.ok()) << where;
    EXPECT_TRUE(is_typed(report.error())) << where << report.error().message;
    EXPECT_TRUE(target->list().value().empty()) << where;
  };
  for (std::size_t at = 0; at < original.size(); at += at < 1500 ? 5 : 97) {
    Bytes changed = original;
    changed[at] ^= static_cast<std::uint8_t>(1 + dice_.below(255));
    expect_refused(changed, fmt::format("byte {}", at));
  }
  for (std::size_t length = 0; length < original.size(); length += 1 + dice_.below(3000))
    expect_refused(Bytes(original.begin(), original.begin() + static_cast<std::ptrdiff_t>(length)),
                   fmt::format("cut to {}", length));
  Bytes longer = original;
  longer.push_back(0);
  expect_refused(longer, "one byte more");
  write_all(file(), original);
  const auto report = target->import_from(file());
  ASSERT_TRUE(report.ok()) << report.error().message;
  for (const auto& [id, model] : models_)
    EXPECT_EQ(difference(*target, id, model), "");
  expect_clean(*target);
  EXPECT_TRUE(std::filesystem::directory_iterator(folder_.path() / "target" / "packs") !=
              std::filesystem::directory_iterator());
}

TEST_F(CorruptionTest, APackThatIsCutOffOrGoneIsNamed) {
  const auto pack = std::filesystem::directory_iterator(place() / "packs")->path();
  const Bytes original = read_all(pack);
  for (const std::size_t length :
       {std::size_t{0}, std::size_t{39}, original.size() / 2, original.size() - 1}) {
    write_all(pack,
              Bytes(original.begin(), original.begin() + static_cast<std::ptrdiff_t>(length)));
    auto store = open_store(place(), quick_options());
    const VerifyReport report = store->verify().value();
    ASSERT_FALSE(report.clean()) << length;
    EXPECT_NE(report.damage[0].what.find(pack.filename().string()), std::string::npos);
    read_all_snapshots(*store, fmt::format("cut to {}: ", length));
    // Compacting does not make it worse.
    EXPECT_TRUE(store->compact(1.0).ok());
    EXPECT_TRUE(std::filesystem::exists(pack));
    write_all(pack, original);
  }
}

}  // namespace
}  // namespace snowglobe::snapshots::testing_world
