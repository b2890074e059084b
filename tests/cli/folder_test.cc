// tests/cli/folder_test.cc - databases in folders: made on purpose, kept, saved, put back, forked.
#include "tests/cli/command.h"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace snowglobe::testing {
namespace {

using Json = nlohmann::json;

class FolderTest : public ::testing::Test {
 protected:
  std::string shop() const { return folder_ / "shop.globe"; }
  Ran at_shop(std::vector<std::string> arguments, const RunOptions& options = {}) const {
    arguments.insert(arguments.begin(), shop());
    return snowglobe(arguments, options);
  }
  void make() const { ASSERT_EQ(snowglobe({"init", shop()}).code, 0); }
  std::string count() const { return at_shop({"sql", "-At", "select count(*) from t"}).out; }

  Folder folder_;
};

TEST_F(FolderTest, IsMadeOnPurposeOnly) {
  for (const std::vector<std::string>& words : {std::vector<std::string>{"select 1"},
                                                {"sql", "select 1"},
                                                {"info"},
                                                {"list"},
                                                {"save", "x"},
                                                {"shell"},
                                                {"exec", "true"}}) {
    const Ran ran = at_shop(words);
    EXPECT_EQ(ran.code, 4) << words[0] << ran.err;
  }
  EXPECT_FALSE(std::filesystem::exists(shop()));
  const Ran made = snowglobe({"init", shop()});
  EXPECT_EQ(made.code, 0) << made.err;
  EXPECT_EQ(made.out, shop() + "\n");
  EXPECT_EQ(snowglobe({"init", shop()}).code, 1) << "it is there already";
  EXPECT_EQ(at_shop({"list"}).code, 0);
  EXPECT_EQ(at_shop({"list", "--json"}).out, "[]\n");
  EXPECT_EQ(snowglobe({folder_ / "other.globe", "--create", "sql", "-At", "select 1"}).out, "1\n");
}

TEST_F(FolderTest, TheShellAsksBeforeItMakesOne) {
  Started no(Started::On::terminal, {shop(), "shell", "--own"});
  no.wait_for("[y/N]");
  no.type("n\r");
  EXPECT_EQ(no.wait(), 4);
  EXPECT_FALSE(std::filesystem::exists(shop()));
  Started yes(Started::On::terminal, {shop(), "shell", "--own"});
  yes.wait_for("[y/N]");
  yes.type("y\r");
  yes.wait_for("postgres=# ");
  yes.type("\\q\r");
  EXPECT_EQ(yes.wait(), 0);
  EXPECT_TRUE(std::filesystem::exists(shop() + "/database.json"));
}

TEST_F(FolderTest, KeepsWhatWasCommittedAlsoWhenItIsKilled) {
  make();
  ASSERT_EQ(at_shop({"sql", "create table t as select 1 as i"}).code, 0);
  EXPECT_EQ(count(), "1\n");
  {
    Started killed(Started::On::pipe,
                   {shop(), "sql", "insert into t values (2)", "\\warn in", "select pg_sleep(60)"});
    killed.wait_for("in");
    killed.signal(SIGKILL);
    EXPECT_EQ(killed.wait(), 128 + SIGKILL);
  }
  EXPECT_EQ(count(), "2\n");
}

TEST_F(FolderTest, OneAtATime) {
  make();
  Started holder(Started::On::pipe, {shop(), "expose"});
  holder.wait_for("Ctrl-C ends it");
  const Ran second = at_shop({"sql", "--json", "select 1"});
  EXPECT_EQ(second.code, 5) << second.err;
  EXPECT_GT(Json::parse(second.err)["error"]["pid"], 0);
  EXPECT_NE(at_shop({"info"}).out.find("open since"), std::string::npos);
  holder.signal(SIGINT);
  EXPECT_EQ(holder.wait(), 0);
  EXPECT_EQ(at_shop({"sql", "-At", "select 1"}).out, "1\n");
}

TEST_F(FolderTest, AReadOnlyOneChangesNothing) {
  make();
  const Ran ran = at_shop({"--read-only", "sql", "create table t()"});
  EXPECT_EQ(ran.code, 3) << ran.err;
  EXPECT_EQ(at_shop({"--read-only", "sql", "-At", "select 1"}).out, "1\n");
}

TEST_F(FolderTest, AnotherProgramsFolderIsLeftAlone) {
  std::filesystem::create_directory(shop());
  std::ofstream(shop() + "/letter.txt") << "dear reader";
  const Ran ran = at_shop({"--create", "sql", "select 1"});
  EXPECT_EQ(ran.code, 1) << ran.err;
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(shop()), {}), 1);
  EXPECT_NE(snowglobe({"init", "/nowhere/at/all.globe"}).code, 0);
}

TEST_F(FolderTest, IsSavedPutBackAndForked) {
  ASSERT_EQ(at_shop({"--create", "sql", "create table t as select 1 as i"}).code, 0);
  const Ran saved = at_shop({"save", "one row", "--note", "the first", "--tag", "good"});
  EXPECT_EQ(saved.code, 0) << saved.err;
  ASSERT_EQ(at_shop({"sql", "insert into t values (2)"}).code, 0);
  EXPECT_EQ(at_shop({"save", "two rows", "--json"}).code, 0);
  const Json all = Json::parse(at_shop({"list", "--json"}).out);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0]["note"], "the first");
  EXPECT_EQ(at_shop({"restore", "one row"}).code, 2) << "nobody was asked";
  EXPECT_EQ(at_shop({"restore", "one row", "-n"}).code, 0);
  EXPECT_EQ(count(), "2\n");
  const Ran restored = at_shop({"restore", "one row", "-y"});
  EXPECT_EQ(restored.code, 0) << restored.err;
  EXPECT_EQ(count(), "1\n");
  const Ran forked = at_shop({"fork", folder_ / "then.globe", "two rows"});
  EXPECT_EQ(forked.code, 0) << forked.err;
  EXPECT_EQ(snowglobe({folder_ / "then.globe", "select count(*) from t", "-At"}).out, "2\n");
  const Ran now = at_shop({"fork", folder_ / "now.globe"});
  EXPECT_EQ(now.code, 0) << now.err;
  EXPECT_EQ(snowglobe({folder_ / "now.globe", "select count(*) from t", "-At"}).out, "1\n");
  EXPECT_EQ(at_shop({"fork", folder_ / "now.globe"}).code, 1) << "it is there already";
}

TEST_F(FolderTest, ABranchGoesAlongWithTheDatabaseThatIsOnIt) {
  make();
  const auto heads = [this] {
    std::string text;
    for (const Json& each : Json::parse(at_shop({"branch", "--json"}).out))
      text += each["branch"].get<std::string>() + "=" +
              each["snapshot"]["name"].get<std::string>() + (each["now"] ? "* " : " ");
    return text;
  };
  ASSERT_EQ(at_shop({"save", "one"}).code, 0);
  EXPECT_EQ(at_shop({"branch", "main"}).code, 0);
  EXPECT_EQ(at_shop({"branch", "try"}).code, 0);
  EXPECT_EQ(heads(), "main=one* try=one ");
  ASSERT_EQ(at_shop({"save", "two"}).code, 0);
  EXPECT_EQ(heads(), "try=one main=two* ");
  ASSERT_EQ(at_shop({"restore", "try", "-y"}).code, 0);
  EXPECT_EQ(heads(), "try=one* main=two ");
  ASSERT_EQ(at_shop({"save", "three"}).code, 0);
  EXPECT_EQ(heads(), "main=two try=three* ");
  const Ran tree = at_shop({"list"});
  EXPECT_NE(tree.out.find("[try, now]"), std::string::npos) << tree.out;
  ASSERT_EQ(at_shop({"restore", "one", "-y"}).code, 0);  // on none
  ASSERT_EQ(at_shop({"save", "four"}).code, 0);
  EXPECT_EQ(heads(), "main=two try=three ");
  const Json all = Json::parse(at_shop({"list", "--json"}).out);
  for (const Json& each : all) {
    EXPECT_EQ(each["now"], each["name"] == "four");
    EXPECT_TRUE(each["tags"].empty()) << each;
  }
}

// In memory, where machines start at once.
TEST(Dump, MakesTheSameElsewhere) {
  Folder folder;
  const auto in_store = [&folder](std::vector<std::string> words) {
    words.insert(words.begin(), {"--store", folder / "store"});
    return snowglobe(words);
  };
  const std::string sum = "select md5(string_agg(m, '' order by i)) from t";
  const Ran made = in_store({"sql", "-At", "--save-as", "base",
                             "create table t as select i, md5(i::text) as m from "
                             "generate_series(1, 500) i",
                             sum});
  ASSERT_EQ(made.code, 0) << made.err;
  for (const std::string name : {"dump.sql", "shop.dump"}) {
    const Ran dumped = in_store({"--from", "base", "dump", folder / name});
    EXPECT_EQ(dumped.code, 0) << dumped.err;
    EXPECT_EQ(in_store({"--from", "base", "dump", folder / name}).code, 1) << "it is there already";
    const Ran loaded = in_store({"load", folder / name, "--save-as", name});
    EXPECT_EQ(loaded.code, 0) << loaded.err;
    EXPECT_EQ(in_store({"--from", name, "sql", "-At", sum}).out, made.out);
  }
  const Ran schema = in_store({"--from", "base", "dump", "--schema-only"});
  EXPECT_NE(schema.out.find("CREATE TABLE public.t"), std::string::npos);
  EXPECT_EQ(schema.out.find("\n1\t"), std::string::npos);
  EXPECT_EQ(snowglobe({"load", "/nowhere.sql"}).code, 4);
  EXPECT_EQ(snowglobe({"load"}, {.input = "create table a(); nonsense;"}).code, 3);
}

TEST_F(FolderTest, IsCopiedCheckedAndCompacted) {
  make();
  ASSERT_EQ(at_shop({"sql", "create table t as select 1 as i"}).code, 0);
  const Ran copied = at_shop({"backup", folder_ / "copy.globe"});
  EXPECT_EQ(copied.code, 0) << copied.err;
  EXPECT_EQ(snowglobe({folder_ / "copy.globe", "select i from t", "-At"}).out, "1\n");
  EXPECT_NE(at_shop({"backup", folder_ / "copy.globe"}).code, 0) << "something is there";
  const Json check = Json::parse(at_shop({"check", "--json"}).out);
  EXPECT_EQ(check["clean"], true);
  EXPECT_GT(check["relations"], 50);
  const Json dry = Json::parse(at_shop({"compact", "--dry-run", "--json"}).out);
  EXPECT_GT(dry["used_bytes"], 10'000'000);
  EXPECT_GT(dry["before_bytes"], dry["used_bytes"]);
  EXPECT_EQ(dry["dry_run"], true);
  const Ran compacted = at_shop({"compact", "--json"});
  EXPECT_EQ(compacted.code, 0) << compacted.err;
  EXPECT_GT(Json::parse(compacted.out)["after_bytes"], 0);
  EXPECT_EQ(Json::parse(at_shop({"info", "--no-start", "--json"}).out)["database"]["open"], false);
}

}  // namespace
}  // namespace snowglobe::testing
