// tests/cli/snapshots_test.cc - machines that are kept: --save-as and --from, and every verb of a
// store.
#include "tests/cli/command.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace snowglobe::testing {
namespace {

using Json = nlohmann::json;

/// base, with "left" and "right" on it; made once, for tests that only look.
class StoreTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<Folder>();
    ASSERT_EQ(snowglobe(with({"sql", "create table t as select 1 as i", "--save-as", "base"})).code,
              0);
    ASSERT_EQ(
        snowglobe(with({"--from", "base", "sql", "insert into t values (2)", "--save-as", "left"}))
            .code,
        0);
    ASSERT_EQ(snowglobe(with({"--from", "base", "sql", "select 1", "--save-as", "right"})).code, 0);
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static std::vector<std::string> with(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--store", store()});
    return arguments;
  }
  static std::string store() { return *folder_ / "store"; }
  static Json list() { return Json::parse(snowglobe(with({"list", "--json"})).out); }

  static std::unique_ptr<Folder> folder_;
};

std::unique_ptr<Folder> StoreTest::folder_;

TEST_F(StoreTest, ListsATree) {
  const Json all = list();
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0]["name"], "base");
  EXPECT_EQ(all[1]["parent"], all[0]["id"]);
  EXPECT_EQ(all[2]["depth"], 1);
  const Ran tree = snowglobe(with({"list"}));
  EXPECT_NE(tree.out.find("├─● left"), std::string::npos) << tree.out;
  EXPECT_NE(tree.out.find("└─● right"), std::string::npos) << tree.out;
  EXPECT_EQ(snowglobe({store(), "list", "-q"}).out.size(), 3 * 33u);
  EXPECT_EQ(snowglobe({"list", store(), "-q"}).out.size(), 3 * 33u);
}

TEST_F(StoreTest, AMachineGoesOnFromASnapshotAndFromAFile) {
  const std::string count = "select count(*) from t";
  EXPECT_EQ(snowglobe(with({"--from", "left", "sql", "-At", count})).out, "2\n");
  EXPECT_EQ(snowglobe(with({"--from", "right", "sql", "-At", count})).out, "1\n");
  const std::string file = *folder_ / "left.snap";
  const Ran exported = snowglobe(with({"export", "left", file}));
  EXPECT_EQ(exported.code, 0) << exported.err;
  EXPECT_EQ(snowglobe(with({"export", "left", file})).code, 1);
  EXPECT_EQ(snowglobe(with({"export", "left", file, "--force", "--level", "3"})).code, 0);
  EXPECT_EQ(snowglobe({file, count, "-At"}).out, "2\n");
  const Ran imported = snowglobe({"--store", *folder_ / "other", "import", file});
  EXPECT_TRUE(imported.out.starts_with("left (")) << imported.err;
  std::filesystem::resize_file(file, std::filesystem::file_size(file) / 2);
  EXPECT_EQ(snowglobe({"--store", *folder_ / "other", "import", file}).code, 8);
  EXPECT_EQ(snowglobe({file, count}).code, 8);
}

TEST_F(StoreTest, SaysWhatIsKnownOfOneAndWhatDiffers) {
  const Json left = Json::parse(snowglobe(with({"show", "left", "--json"})).out);
  EXPECT_EQ(left["memory_bytes"], 268435456);  // S36: it says its size of memory
  EXPECT_GT(left["stored_bytes"], 1'000'000);  // S35: stored compressed, with both sizes
  EXPECT_GT(left["raw_bytes"], left["stored_bytes"]);
  const std::string id = left["id"];
  EXPECT_EQ(Json::parse(snowglobe(with({"show", id.substr(0, 6), "--json"})).out), left);
  const Json diff = Json::parse(snowglobe(with({"diff", "base", "left", "--json"})).out);
  EXPECT_GT(diff["changed_bytes"], 0);
  EXPECT_EQ(Json::parse(snowglobe(with({"diff", "left", "left", "--json"})).out)["changed_bytes"],
            0);
  EXPECT_NE(snowglobe(with({"show"})).out.find("PostgreSQL"), std::string::npos);
}

TEST_F(StoreTest, SaysWhichRowsDiffer) {
  const Json tables =
      Json::parse(snowglobe(with({"diff", "base", "left", "--rows", "--json"})).out)["tables"];
  ASSERT_EQ(tables.size(), 1u) << tables;
  EXPECT_EQ(tables[0]["table"], "t");
  EXPECT_EQ(tables[0]["kind"], "changed");
  EXPECT_EQ(tables[0]["inserted"], 1);
  EXPECT_EQ(tables[0]["deleted"], 0);
  const Ran ran = snowglobe(with({"diff", "left", "base", "--rows"}));
  EXPECT_NE(ran.out.find("postgres.public.t           0           0           1"),
            std::string::npos)
      << ran.out;
  const Ran same = snowglobe(with({"diff", "base", "right", "--rows"}));
  EXPECT_EQ(same.out, "");
  EXPECT_NE(same.err.find("the same rows"), std::string::npos) << same.err;
}

TEST_F(StoreTest, TheSizeOfMemoryMustFit) {
  const Ran ran = snowglobe(with({"--from", "base", "--memory", "128", "sql", "select 1"}));
  EXPECT_EQ(ran.code, 2) << ran.err;
  EXPECT_NE(ran.err.find("256"), std::string::npos) << ran.err;
}

TEST_F(StoreTest, VerifiesAndNoticesDamage) {
  EXPECT_EQ(Json::parse(snowglobe(with({"verify", "--json"})).out)["clean"], true);
  const std::string copy = *folder_ / "damaged";
  std::filesystem::copy(store(), copy, std::filesystem::copy_options::recursive);
  for (const auto& entry : std::filesystem::directory_iterator(copy + "/packs")) {
    std::fstream pack(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    pack.seekp(static_cast<long>(entry.file_size() / 2));
    pack << "damage";
  }
  const Ran ran = snowglobe({"--store", copy, "verify"});
  EXPECT_EQ(ran.code, 8) << ran.err;
  EXPECT_NE(ran.out.find("DAMAGED"), std::string::npos);
  EXPECT_EQ(snowglobe({"--store", copy, "--from", "base", "sql", "select 1"}).code, 8);
}

TEST_F(StoreTest, WhatIsNotThereIsFour) {
  for (const std::vector<std::string>& words : {std::vector<std::string>{"show", "nobody"},
                                                {"diff", "base", "nobody"},
                                                {"rm", "nobody", "-y"},
                                                {"tag", "nobody", "x"},
                                                {"export", "nobody"},
                                                {"--from", "nobody", "sql", "select 1"},
                                                {"branch", "b", "nobody"},
                                                {"branch", "nobody", "--remove"}}) {
    const Ran ran = snowglobe(with(words));
    EXPECT_EQ(ran.code, 4) << words[0] << ran.err;
  }
}

TEST_F(StoreTest, NothingIsRemovedWithoutAWord) {
  const Ran ran = snowglobe(with({"rm", "right"}));
  EXPECT_EQ(ran.code, 2);
  EXPECT_NE(ran.err.find("--yes"), std::string::npos);
  EXPECT_EQ(snowglobe(with({"prune", "--keep-last", "1"})).code, 2);
  EXPECT_EQ(snowglobe(with({"prune", "-y"})).code, 2) << "nothing says what to keep";
  EXPECT_NE(snowglobe(with({"prune", "--keep-last", "1", "-n"})).out.find("would remove base"),
            std::string::npos);
  EXPECT_EQ(snowglobe(with({"rm", "base", "-y"})).code, 1) << "others descend from it";
  EXPECT_EQ(list().size(), 3u);
}

TEST_F(StoreTest, AReadOnlyStoreIsAFailureThatNamesIt) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  std::filesystem::permissions(
      store(), std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
  EXPECT_NE(snowglobe(with({"tag", "base", "x"})).code, 0);
  std::filesystem::permissions(store(), std::filesystem::perms::owner_all);
}

TEST_F(StoreTest, ADiskThatIsFullLeavesTheStoreAsItWas) {
  const Ran ran =
      snowglobe(with({"--from", "base", "sql",
                      "create table big as select md5(i::text) from generate_series(1, 60000) i",
                      "--save-as", "too big"}),
                {.file_size_limit = 300'000});
  EXPECT_NE(ran.code, 0) << ran.out << ran.err;
  EXPECT_EQ(list().size(), 3u);
  EXPECT_EQ(Json::parse(snowglobe(with({"verify", "--json"})).out)["clean"], true);
}

// Changes the store: by name the last.
TEST_F(StoreTest, TagsNamesBranchesAndRemoval) {
  EXPECT_EQ(snowglobe(with({"tag", "left", "good", "--note", "a note"})).code, 0);
  Json left = Json::parse(snowglobe(with({"show", "good", "--json"})).out);
  EXPECT_EQ(left["name"], "left");
  EXPECT_EQ(left["note"], "a note");
  EXPECT_EQ(snowglobe(with({"tag", "left", "--remove", "good"})).code, 0);
  EXPECT_EQ(snowglobe(with({"show", "good"})).code, 4);
  EXPECT_EQ(snowglobe(with({"rename", "right", "straight"})).code, 0);
  EXPECT_NE(snowglobe(with({"rename", "left", "straight"})).code, 0) << "the name is taken";
  EXPECT_EQ(snowglobe(with({"branch", "try", "left"})).code, 0);
  EXPECT_EQ(Json::parse(snowglobe(with({"branch", "--json"})).out)[0]["snapshot"]["name"], "left");
  EXPECT_EQ(Json::parse(snowglobe(with({"show", "try", "--json"})).out)["name"], "left");
  EXPECT_EQ(snowglobe(with({"branch", "try", "--remove"})).code, 0);
  const Ran gone = snowglobe(with({"rm", "base", "--cascade", "-y"}));
  EXPECT_EQ(gone.code, 0) << gone.err;
  EXPECT_EQ(list().size(), 0u);
}

}  // namespace
}  // namespace snowglobe::testing
