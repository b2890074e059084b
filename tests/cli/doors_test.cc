// tests/cli/doors_test.cc - bad input at every door of the command: a table of calls with the exit
// code and the words that docs/cli.md promises, and that nothing was changed.
#include "tests/cli/command.h"

#include <csignal>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <sys/stat.h>

namespace snowglobe::testing {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

/// Every file below a folder: its size, when it was written, and what is in it if it is small (a
/// disk is some gigabytes of holes).
std::map<std::string, std::string> all_of(const fs::path& folder) {
  constexpr std::uintmax_t kSmall = 1 << 20;
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file() || entry.path().filename().string().ends_with("lock")) continue;
    files[entry.path()] = fmt::format(
        "{} bytes at {}: {}", entry.file_size(), entry.last_write_time().time_since_epoch().count(),
        entry.file_size() <= kSmall ? contents(entry.path()) : std::string());
  }
  return files;
}

/// A database with a snapshot and an exported file, made once; tests leave it as it is.
class DoorsTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<Folder>();
    ASSERT_EQ(snowglobe({"init", shop()}).code, 0);
    ASSERT_EQ(snowglobe({shop(), "save", "vor dem Umbau ☃"}).code, 0);
    ASSERT_EQ(snowglobe({shop(), "export", "latest", at("good.snap")}).code, 0);
    std::ofstream(at("empty")).close();
    std::ofstream(at("text")) << std::string(100'000, 'x');
    fs::create_directory(at("folder"));
    ASSERT_EQ(mkfifo(at("pipe").c_str(), 0600), 0);
    ASSERT_EQ(mkfifo(at("pipe.dump").c_str(), 0600), 0);
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static std::string at(const std::string& name) { return *folder_ / name; }
  static std::string shop() { return *folder_ / "mein lädchen.globe"; }

  static std::unique_ptr<Folder> folder_;
};

std::unique_ptr<Folder> DoorsTest::folder_;

struct Call {
  std::vector<std::string> words;
  int code;
  std::string says;  // somewhere in stderr
};

TEST_F(DoorsTest, EachSaysWhatIsWrongAndChangesNothing) {
  const std::string& nowhere = "/nowhere/at/all";
  const std::vector<Call> calls = {
      {{"exprot", "x"}, 2, "did you mean \"export\"?"},
      {{"sql", "-f", nowhere}, 4, nowhere},
      {{"--read-only", "sql", "select 1"}, 2, "name one with --db"},
      {{"sql", "-f", at("folder")}, 2, at("folder")},
      {{"load", nowhere}, 4, nowhere},
      {{"load", at("folder")}, 2, at("folder")},
      {{"put", nowhere, "/tmp/x"}, 4, nowhere},
      {{"put", at("folder"), "/tmp/x"}, 2, at("folder")},
      {{shop(), "import", nowhere}, 4, nowhere},
      {{shop(), "import", at("folder")}, 4, at("folder")},
      {{shop(), "import", at("empty")}, 2, "empty"},
      {{shop(), "import", at("text")}, 2, "text"},
      {{at("text"), "select 1"}, 2, "text"},
      {{at("empty"), "select 1"}, 2, "empty"},
      {{at("folder"), "select 1"}, 4, at("folder")},
      {{at("folder"), "list"}, 4, at("folder")},
      {{at("folder"), "info"}, 4, at("folder")},
      {{"init", shop()}, 1, "already"},
      {{"init", nowhere + "/x.globe"}, 4, nowhere},
      {{"init", "/sys/x.globe"}, 1, "/sys/x.globe"},
      {{"init", at("text")}, 1, at("text")},
      {{shop(), "fork", at("x.globe"), "nobody"}, 4, "nobody"},
      {{shop(), "fork", nowhere + "/x.globe", "latest"}, 4, nowhere},
      {{shop(), "restore", "nobody", "-y"}, 4, "nobody"},
      {{shop(), "restore", "latest"}, 2, "--yes"},
      {{shop(), "diff", "latest", "nobody"}, 4, "nobody"},
      {{shop(), "show", "ab"}, 4, "ab"},
      {{shop(), "tag", "latest"}, 2, "--note"},
      {{shop(), "tag", "latest", "branch/x"}, 2, "branch"},
      {{shop(), "rename", "nobody", "x"}, 4, "nobody"},
      {{shop(), "branch", "nobody", "--remove"}, 4, "nobody"},
      {{shop(), "export", "nobody"}, 4, "nobody"},
      {{shop(), "export", "latest", at("good.snap")}, 1, "--force"},
      {{shop(), "export", "latest", nowhere + "/x"}, 4, nowhere},
      {{shop(), "export", "latest", at("pipe"), "--force"}, 2, at("pipe")},
      {{"dump", at("pipe.dump"), "--force"}, 2, at("pipe.dump")},
      {{shop(), "export", "latest", at("x"), "--level", "77"}, 2, "--level"},
      {{shop(), "prune", "--keep-within", "tomorrow", "-y"}, 2, "tomorrow"},
      {{shop(), "prune", "-y"}, 2, "what to keep"},
      {{shop(), "--from", "latest", "sql", "select 1"}, 2, "--from"},
      {{"--from", nowhere, "sql", "select 1"}, 4, ""},
      {{"--db", shop(), shop(), "list"}, 2, "two databases"},
      {{"save", "x"}, 2, "snowglobe DATABASE save"},
      {{"--memory", "3", "sql", "select 1"}, 2, "--memory is 3"},
      {{"--memory", "87", "sql", "select 1"}, 2, "multiple of 4"},
      {{"--memory", "much", "sql", "select 1"}, 2, "SNOWGLOBE_MEMORY_MB"},
      {{"--durability", "some", "sql", "select 1"}, 2, "full, none, relaxed"},
      {{"select", "1"}, 2, "in quotes"},
      {{"nobody.snap"}, 4, "no file nobody.snap"},
      {{nowhere + ".snap", "list"}, 4, nowhere},
      {{SNOWGLOBE_SOURCES "/tests/guest/numbers.sql"}, 2, "sql -f"},
      {{"load", at("good.snap")}, 2, "--from"},
      {{shop(), "dump", nowhere + "/x"}, 4, "no folder"},
      {{shop(), "backup", shop()}, 1, "a folder that is not there"},
      {{"put", at("text"), "tmp/x"}, 2, "begins with /"},
      {{"get", "etc/hosts"}, 2, "begins with /"},
      {{"sql", "--csv", "--json", "select 1"}, 2, "--csv"},
      {{"put", "--mode", "9", at("text"), "/tmp/x"}, 2, "octal"},
      {{"exec", "--timeout", "soon", "true"}, 2, "soon"},
  };
  const auto before = all_of(*folder_ / "");
  for (const Call& call : calls) {
    std::string line;
    for (const std::string& word : call.words)
      line += word + " ";
    const Ran ran = snowglobe(call.words);
    EXPECT_EQ(ran.code, call.code) << line << "\n" << ran.err;
    EXPECT_NE(ran.err.find(call.says), std::string::npos) << line << "\n" << ran.err;
    EXPECT_EQ(ran.out, "") << line;
    EXPECT_NE(ran.err, "") << line;
  }
  EXPECT_TRUE(all_of(*folder_ / "") == before);
  EXPECT_TRUE(fs::is_fifo(at("pipe"))) << "what is no plain file is never replaced";
  EXPECT_TRUE(fs::is_fifo(at("pipe.dump")));
}

TEST_F(DoorsTest, NamesMayHaveSpacesAndLettersOfAnyScript) {
  const Json all = Json::parse(snowglobe({shop(), "list", "--json"}).out);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0]["name"], "vor dem Umbau ☃");
  EXPECT_EQ(snowglobe({shop(), "show", "vor dem Umbau ☃"}).code, 0);
  EXPECT_EQ(snowglobe({shop(), "rename", "latest", "a/b"}).code, 0);
  const Ran ran = snowglobe({shop(), "export", "a/b"}, {.directory = *folder_ / "folder"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_TRUE(fs::remove(at("folder/a_b.snap"))) << ran.err;
  EXPECT_EQ(snowglobe({shop(), "rename", "latest", "vor dem Umbau ☃"}).code, 0);
}

TEST_F(DoorsTest, DamagedFilesAreEightAndTheStoreIsAsItWas) {
  const std::string whole = contents(at("good.snap"));
  for (const std::size_t cut : {std::size_t{40}, whole.size() / 3, whole.size() - 1}) {
    std::ofstream(at("cut.snap"), std::ios::binary) << whole.substr(0, cut);
    const Ran ran = snowglobe({"--store", at("store"), "import", at("cut.snap")});
    EXPECT_TRUE(ran.code == 8 || (cut == 40 && ran.code == 2)) << cut << ran.err;
    EXPECT_NE(ran.err.find("cut.snap"), std::string::npos) << ran.err;
  }
  for (const std::size_t place : {whole.size() / 4, whole.size() / 2, whole.size() - 20}) {
    std::string bent = whole;
    bent[place] = static_cast<char>(bent[place] ^ 1);
    std::ofstream(at("bent.snap"), std::ios::binary) << bent;
    EXPECT_EQ(snowglobe({"--store", at("store"), "import", at("bent.snap")}).code, 8) << place;
  }
  EXPECT_EQ(snowglobe({"--store", at("store"), "list", "--json"}).out, "[]\n");
  fs::remove_all(at("store"));
  fs::remove(at("cut.snap"));
  fs::remove(at("bent.snap"));
}

TEST_F(DoorsTest, ADamagedDatabaseIsNotTouched) {
  ASSERT_EQ(run_program({"cp", "-r", "--sparse=always", shop(), at("copy.globe")}).code, 0);
  const std::string about = contents(at("copy.globe/database.json"));
  struct Damage {
    const char* what;
    std::string json;
    int code;
  };
  std::string newer = about;
  const std::size_t format = newer.find("\"format\"");
  ASSERT_NE(format, std::string::npos) << about;
  newer.replace(newer.find_first_of("0123456789", format), 1, "999");
  for (const Damage& damage :
       {Damage{"cut", about.substr(0, about.size() / 2), 8}, Damage{"empty", "", 8},
        Damage{"another program's", "{\"name\": \"npm\"}", 8}, Damage{"newer", newer, 7}}) {
    std::ofstream(at("copy.globe/database.json")) << damage.json;
    const auto before = all_of(at("copy.globe"));
    const Ran ran = snowglobe({at("copy.globe"), "select 1"});
    EXPECT_EQ(ran.code, damage.code) << damage.what << ran.err;
    EXPECT_TRUE(all_of(at("copy.globe")) == before) << damage.what;
  }
  std::ofstream(at("copy.globe/database.json")) << about;
  fs::resize_file(at("copy.globe/disk"), 4096);
  const Ran ran = snowglobe({at("copy.globe"), "select 1"});
  EXPECT_EQ(ran.code, 8) << ran.err;
  fs::remove_all(at("copy.globe"));
}

TEST_F(DoorsTest, AFullOrClosedStandardOutputIsAFailure) {
  const std::string command = SNOWGLOBE_COMMAND;
  for (const char* words : {"list", "list --json", "show latest", "completion bash", "--help",
                            "version", "get /etc/passwd -", "dump", "exec -- echo hello"}) {
    const std::string call = fmt::format("{} --db '{}' {}", command, shop(), words);
    const Ran full = run_program({"sh", "-c", call + " >/dev/full"});
    EXPECT_EQ(full.code, 1) << words << full.err;
    EXPECT_NE(full.err.find("standard output"), std::string::npos) << words << full.err;
    const Ran gone = run_program({"bash", "-c", call + " | true; exit ${PIPESTATUS[0]}"});
    EXPECT_LT(gone.code, 2) << words << gone.err;
    EXPECT_EQ(gone.err, "") << words;
  }
}

TEST_F(DoorsTest, AFullDiskIsSaidAndNothingHalfIsLeft) {
  const std::string command = SNOWGLOBE_COMMAND;
  const std::string small = at("small");
  fs::create_directory(small);
  const auto on_small = [&](const std::string& size, const std::string& script) {
    return run_program({"unshare", "-rm", "sh", "-c",
                        fmt::format("mount -t tmpfs -o size={} none '{}' && cd '{}' && {}", size,
                                    small, small, script)});
  };
  if (on_small("1m", "true").code != 0) GTEST_SKIP() << "no user namespaces here";
  const Ran init = on_small("1m", command + " init x.globe; echo $?; ls -A");
  EXPECT_EQ(init.out, "1\n") << init.err;
  EXPECT_NE(init.err.find("full"), std::string::npos) << init.err;
  const Ran exported =
      on_small("1m", command + " '" + shop() + "' export latest x.snap; echo $?; ls -A");
  EXPECT_EQ(exported.out, "1\n") << exported.err;
  const Ran dumped = on_small("4k", "echo before >x.sql; " + command + " '" + shop() +
                                        "' dump --force x.sql; echo $?; cat x.sql; ls -A");
  EXPECT_EQ(dumped.out, "1\nbefore\nx.sql\n") << dumped.err;
  const Ran got = on_small("16k", command + " get /bin/busybox x; echo $?; ls -A");
  EXPECT_EQ(got.out, "1\n") << got.err;
  fs::remove(small);
}

TEST_F(DoorsTest, ASignalEndsEachVerbAndLeavesTheDatabaseWell) {
  const std::vector<std::vector<std::string>> verbs = {{"save", "x"},
                                                       {"dump", at("x.sql")},
                                                       {"check"},
                                                       {"compact", "--full"},
                                                       {"backup", at("b.globe")},
                                                       {"export", "latest", at("x.snap")},
                                                       {"verify"}};
  int signal = SIGINT;
  for (const std::vector<std::string>& verb : verbs) {
    std::vector<std::string> words = {shop()};
    words.insert(words.end(), verb.begin(), verb.end());
    Started started(Started::On::pipe, words);
    usleep(120'000);
    started.signal(signal);
    const int code = started.wait();
    EXPECT_TRUE(code == 0 || code == 128 + signal) << verb[0] << " " << code;
    fs::remove(at("x.sql"));
    fs::remove(at("x.snap"));
    fs::remove_all(at("b.globe"));
    signal = signal == SIGINT ? SIGTERM : SIGINT;
  }
  EXPECT_EQ(snowglobe({shop(), "sql", "-At", "select 1"}).out, "1\n");
  EXPECT_EQ(snowglobe({shop(), "verify", "-q"}).code, 0);
  static_cast<void>(snowglobe({shop(), "rm", "x", "-y"}));
}

}  // namespace
}  // namespace snowglobe::testing
