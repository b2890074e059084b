// tests/snapshots/export_test.cc - snapshots that travel as one file, and bytes that claim to be
// one.
#include "snapshots/chunk_list.h"
#include "snapshots/export_format.h"
#include "snapshots/limits.h"
#include "tests/snapshots/world.h"

#include <fmt/format.h>
#include <fstream>

namespace snowglobe::snapshots::testing_world {
namespace {

using base::ErrorCode;

class ExportTest : public testing::Test {
 protected:
  ExportTest() {
    Model before;
    std::optional<SnapshotId> parent;
    for (int i = 0; i < 3; ++i) {
      Model now = before;
      now["memory"].resize(8 * kChunk + 5);
      now["memory"][dice_.below(8 * kChunk)] ^= 5;
      now["state"] = some_bytes(dice_, 3000);
      infos_.push_back(
          save(*store_, now, {.name = fmt::format("s{}", i), .tags = {"t"}}, parent, before)
              .value());
      models_.push_back(now);
      parent = infos_.back().id;
      before = now;
    }
  }

  TemporaryFolder folder_;
  Dice dice_{5};
  std::unique_ptr<Store> store_ = open_store(folder_.path() / "store", quick_options());
  std::filesystem::path file_ = folder_.path() / "file.snap";
  std::vector<SnapshotInfo> infos_;
  std::vector<Model> models_;
};

TEST_F(ExportTest, ACopyIsAStoreOfItsOwn) {
  const auto place = folder_.path() / "copy";
  ASSERT_TRUE(store_->copy_to(place).ok());
  EXPECT_EQ(store_->copy_to(place).error().code, base::ErrorCode::kAlreadyExists);
  for (const char* name : {"catalogue.sqlite", "FORMAT"}) {
    EXPECT_EQ(std::filesystem::status(place / name).permissions(),
              std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  }
  ASSERT_TRUE(store_->remove(infos_[0].id, Cascade::kYes).ok());
  ASSERT_TRUE(store_->compact(1.0).ok());
  auto copy = open_store(place, quick_options());
  for (std::size_t i = 0; i < 3; ++i)
    EXPECT_EQ(difference(*copy, infos_[i].id, models_[i]), "");
  expect_clean(*copy);
  Model now = models_[2];
  now["state"] = some_bytes(dice_, 3000);
  EXPECT_TRUE(save(*copy, now, {.name = "more"}, infos_[2].id, models_[2]).ok());
  EXPECT_TRUE(store_->list().value().empty());
}

TEST_F(ExportTest, AChainTravelsWithItsAncestors) {
  const ExportReport report =
      store_->export_to(file_, {infos_[2].id}, {.with_ancestors = true}).value();
  EXPECT_EQ(report.snapshots.size(), 3u);
  EXPECT_EQ(report.file_bytes, std::filesystem::file_size(file_));
  EXPECT_EQ(std::filesystem::status(file_).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  auto target = open_store(folder_.path() / "target", quick_options());
  EXPECT_EQ(target->import_from(file_).value().imported.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(difference(*target, infos_[i].id, models_[i]), "");
    const SnapshotInfo info = target->get(infos_[i].id).value();
    EXPECT_EQ(info.metadata.name, infos_[i].metadata.name);
    EXPECT_EQ(info.parent, infos_[i].parent);
    EXPECT_EQ(info.new_bytes, infos_[i].new_bytes);
  }
  expect_clean(*target);
  const ImportReport again = target->import_from(file_).value();
  EXPECT_TRUE(again.imported.empty());
  EXPECT_EQ(again.present.size(), 3u);
  EXPECT_EQ(again.new_bytes, 0u);
}

TEST_F(ExportTest, AloneASnapshotIsARoot) {
  ASSERT_TRUE(store_->export_to(file_, {infos_[2].id}).ok());
  const std::vector<SnapshotInfo> inside = Store::inspect(file_).value();
  ASSERT_EQ(inside.size(), 1u);
  EXPECT_EQ(inside[0].parent, std::nullopt);
  EXPECT_EQ(inside[0].objects, infos_[2].objects);
}

TEST_F(ExportTest, ANameThatIsTakenChanges) {
  ASSERT_TRUE(store_->export_to(file_, {infos_[0].id}).ok());
  auto target = open_store(folder_.path() / "target", quick_options());
  ASSERT_TRUE(save(*target, {}, {.name = "s0"}).ok());
  ASSERT_TRUE(save(*target, {}, {.name = "s0 (imported)"}).ok());
  EXPECT_EQ(target->import_from(file_).value().imported[0].metadata.name, "s0 (imported 2)");
}

TEST_F(ExportTest, AFileThatIsThereIsKeptUnlessToldOtherwise) {
  std::ofstream(file_) << "mine";
  EXPECT_EQ(store_->export_to(file_, {infos_[0].id}).error().code, ErrorCode::kAlreadyExists);
  EXPECT_TRUE(store_->export_to(file_, {infos_[0].id}, {.overwrite = true}).ok());
  EXPECT_EQ(store_->import_from(folder_.path() / "missing").error().code, ErrorCode::kNotFound);
  std::ofstream(file_) << std::string(500, 'x');
  EXPECT_EQ(store_->import_from(file_).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(store_->export_to(file_, {}).error().code, ErrorCode::kInvalidArgument);
}

TEST_F(ExportTest, ItCanBeSmallerThanTheStore) {
  Model text;
  for (std::uint32_t i = 0; i < 60'000; ++i)
    text["memory"].push_back(static_cast<std::uint8_t>("to be or not to be"[i * i / 7 % 18]));
  const SnapshotInfo info = save(*store_, text, {}).value();
  const std::uint64_t as_is = store_->export_to(file_, {info.id}).value().file_bytes;
  const ExportOptions small{.overwrite = true, .compression_level = 19};
  EXPECT_LE(store_->export_to(file_, {info.id}, small).value().file_bytes, as_is);
  auto target = open_store(folder_.path() / "target", quick_options());
  ASSERT_TRUE(target->import_from(file_).ok());
  EXPECT_EQ(difference(*target, info.id, text), "");
}

TEST_F(ExportTest, BothWaysCanBeCancelled) {
  const Progress stop = [](std::uint64_t, std::uint64_t) { return false; };
  EXPECT_EQ(store_->export_to(file_, {infos_[0].id}, {.progress = stop}).error().code,
            ErrorCode::kCancelled);
  EXPECT_FALSE(std::filesystem::exists(file_));
  ASSERT_TRUE(store_->export_to(file_, {infos_[0].id}).ok());
  auto target = open_store(folder_.path() / "target", quick_options());
  EXPECT_EQ(target->import_from(file_, stop).error().code, ErrorCode::kCancelled);
  EXPECT_TRUE(target->list().value().empty());
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path() / "target" / "packs"));
}

TEST(ChunkList, ListsComeBackWithAndWithoutABase) {
  Dice dice(9);
  for (int round = 0; round < 300; ++round) {
    const auto random_ids = [&] {
      SnapshotIds ids;
      for (const char* name : {"a", "b", "c"}) {
        if (dice.below(4) == 0) continue;
        ObjectIds object{{name, dice.below(60 * kChunk), kChunk}, {}};
        std::uint64_t id = 1 + dice.below(1'000'000'000'000);
        for (std::uint64_t i = 0; i < object.info.chunk_count(); ++i) {
          if (dice.below(5) == 0) id = 1 + dice.below(1000);
          object.ids.push_back(dice.below(4) == 0 ? 0 : id++);
        }
        ids.push_back(object);
      }
      return ids;
    };
    const SnapshotIds base = random_ids();
    SnapshotIds ids = random_ids();
    if (dice.below(2) == 0) ids = base;
    for (const SnapshotIds* from : {static_cast<const SnapshotIds*>(nullptr), &base}) {
      const std::vector<std::uint8_t> bytes = encode_list(ids, from);
      const auto decoded = decode_list(bytes, from);
      ASSERT_TRUE(decoded.ok()) << decoded.error().message;
      ASSERT_EQ(decoded.value().size(), ids.size());
      for (std::size_t i = 0; i < ids.size(); ++i) {
        EXPECT_EQ(decoded.value()[i].info, ids[i].info);
        EXPECT_EQ(decoded.value()[i].ids, ids[i].ids);
      }
      for (std::size_t length = 0; length < bytes.size(); ++length)
        EXPECT_FALSE(decode_list(base::ConstBytes(bytes).first(length), from).ok());
    }
  }
}

TEST(ChunkList, AFewBytesDoNotBecomeGigabytes) {
  // One object "x" of 2^60 bytes, one run of zeros as long.
  const std::vector<std::uint8_t> bytes = {1,    0,    1,    1,    'x',  0x80, 0x80,
                                           0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10,
                                           16,   1,    0,    0xFF, 0xFF, 0xFF, 0x7F};
  const auto decoded = decode_list(bytes, nullptr);
  ASSERT_FALSE(decoded.ok());
  EXPECT_NE(decoded.error().message.find("too many chunks"), std::string::npos);
}

}  // namespace
}  // namespace snowglobe::snapshots::testing_world
