// tests/guest/ready_test.cc - starting from the image's ready state: that it is one, what happens
// when the copy in the cache is missing, damaged or somebody else's, and that no machine code comes
// from a file.
#include "api/src/ready_files.h"
#include "api/src/ready_state.h"
#include "tests/support/temporary_folder.h"
#include <snowglobe/snowglobe.hpp>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <openssl/evp.h>
#include <sstream>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace snowglobe {
namespace {

namespace fs = std::filesystem;

std::string contents_of(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::string sha256_of(const std::string& bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  EVP_Digest(bytes.data(), bytes.size(), digest, &length, EVP_sha256(), nullptr);
  std::ostringstream text;
  for (unsigned i = 0; i < length; ++i) {
    constexpr char kDigits[] = "0123456789abcdef";
    text << kDigits[digest[i] >> 4] << kDigits[digest[i] & 15];
  }
  return text.str();
}

/// An image folder of its own with a ready state of two sessions, and a folder for caches.
class ReadyTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    temporary_ = std::make_unique<test::TemporaryFolder>();
    folder_ = temporary_->path();
    Options cold;
    cold.start = Start::cold;
    Database database = Database::open_in_memory(cold);
    const fs::path image = database.info().image;
    fs::create_directory(folder_ / "image");
    for (const auto& entry : fs::directory_iterator(image)) {
      if (entry.path().filename().string().starts_with("ready.")) continue;
      fs::create_symlink(fs::canonical(entry.path()), folder_ / "image" / entry.path().filename());
    }
    database.script("create table there(n int); insert into there values (42)");
    SnapshotStore store = SnapshotStore::open(folder_ / "store");
    const fs::path file = folder_ / "image/ready.snap";
    store.export_to(store.put(database.save("ready")), file);
    const std::string bytes = contents_of(file);
    const nlohmann::json about = {{"image_id", database.info().image_id},
                                  {"format", detail::kPictureFormat},
                                  {"bytes", bytes.size()},
                                  {"sha256", sha256_of(bytes)}};
    std::ofstream(folder_ / "image/ready.json") << about;
  }
  static void TearDownTestSuite() { temporary_.reset(); }

  void SetUp() override {
    cache_ = folder_ / "caches" / ::testing::UnitTest::GetInstance()->current_test_info()->name();
    ::setenv("XDG_CACHE_HOME", cache_.c_str(), 1);
    options_.image = folder_ / "image";
    options_.on_log = [this](const LogLine& line) {
      if (line.level == LogLevel::warning) warnings_ += line.text + "\n";
    };
  }
  void TearDown() override {
    fs::permissions(cache_, fs::perms::owner_all, fs::perm_options::add, ignored_);
    fs::remove_all(cache_, ignored_);
  }

  /// Opens and asks, in this process. Says how the database was started.
  std::string started() {
    Database database = Database::open_in_memory(options_);
    EXPECT_EQ(database.one<int>("select n from there"), 42);
    return database.info().started;
  }
  /// The folder of the unpacked copy.
  [[nodiscard]] fs::path copy() const {
    for (const auto& entry : fs::directory_iterator(cache_ / "snowglobe")) {
      if (entry.path().filename().string().starts_with("ready-")) return entry.path();
    }
    return {};
  }

  static inline std::unique_ptr<test::TemporaryFolder> temporary_;
  static inline fs::path folder_;
  fs::path cache_;
  Options options_;
  std::string warnings_;
  std::error_code ignored_;
};

TEST_F(ReadyTest, ADatabaseStartsFromItAndLeavesACopyForTheNext) {
  EXPECT_EQ(started(), "warm");
  ASSERT_TRUE(fs::exists(copy() / "memory"));
  EXPECT_EQ(fs::status(copy()).permissions(), fs::perms::owner_all);
  for (const auto& entry : fs::directory_iterator(cache_ / "snowglobe")) {
    const bool note = entry.path().filename().string().starts_with("verified-");
    EXPECT_TRUE(note || entry.path() == copy()) << entry.path();  // nothing of the work is left
  }
  const auto made = fs::last_write_time(copy() / "index");
  EXPECT_EQ(started(), "warm");
  EXPECT_EQ(fs::last_write_time(copy() / "index"), made);
  EXPECT_EQ(warnings_, "");
}

TEST_F(ReadyTest, OptionsThatItDoesNotFitStartFromTheBeginning) {
  options_.settings = {{"work_mem", "8MB"}};
  Database other = Database::open_in_memory(options_);
  EXPECT_EQ(other.info().started, "cold");
  EXPECT_EQ(other.one<std::string>("show work_mem"), "8MB");
  options_.settings.clear();
  options_.memory_mb = 96;
  EXPECT_EQ(Database::open_in_memory(options_).info().started, "cold");
  options_.memory_mb = 0;
  options_.start = Start::cold;
  EXPECT_EQ(Database::open_in_memory(options_).info().started, "cold");
}

TEST_F(ReadyTest, WhatWasHashedIsNotedForTheNextProcess) {
  const auto note = [this]() -> fs::path {
    for (const auto& entry : fs::directory_iterator(cache_ / "snowglobe")) {
      if (entry.path().filename().string().starts_with("verified-")) return entry.path();
    }
    return {};
  };
  EXPECT_EQ(started(), "warm");
  const std::string before = contents_of(note());
  ASSERT_FALSE(before.empty());
  fs::remove(note());
  EXPECT_EQ(started(), "warm");
  EXPECT_EQ(contents_of(note()), before);
  // The same bytes in another file are hashed again.
  fs::copy_file(fs::canonical(options_.image / "vmlinux"), options_.image / "another");
  fs::rename(options_.image / "another", options_.image / "vmlinux");
  EXPECT_EQ(started(), "warm");
  EXPECT_NE(contents_of(note()), before);
}

TEST_F(ReadyTest, AnOpenThatWasCancelledDoesNotStart) {
  std::stop_source stop;
  stop.request_stop();
  options_.stop = stop.get_token();
  EXPECT_THROW((void)Database::open_in_memory(options_), Cancelled);
}

TEST_F(ReadyTest, DatabasesOfOneProcessShareIt) {
  const Database first = Database::open_in_memory(options_);
  fs::remove(copy() / "memory");  // whoever maps it anew would miss it
  Database second = Database::open_in_memory(options_);
  EXPECT_EQ(second.one<int>("select n from there"), 42);
  EXPECT_EQ(warnings_, "");
}

TEST_F(ReadyTest, AFolderThatCanNotBeWrittenCostsOnlyTime) {
  // A file where the folder should be stops root as well.
  fs::create_directories(cache_.parent_path());
  std::ofstream(cache_) << "not a folder";
  EXPECT_EQ(started(), "warm");
  EXPECT_NE(warnings_.find("can not be written"), std::string::npos) << warnings_;
}

TEST_F(ReadyTest, ACopyOfAnotherUserOrOneThatOthersMayWriteIsNotBelieved) {
  EXPECT_EQ(started(), "warm");
  fs::permissions(copy() / "index", fs::perms::others_write, fs::perm_options::add);
  EXPECT_EQ(started(), "warm");
  EXPECT_NE(warnings_.find("not this user's own file"), std::string::npos) << warnings_;
  EXPECT_EQ(fs::status(copy() / "index").permissions() & fs::perms::others_write, fs::perms::none);
}

// Whatever is damaged is noticed: by the index's or the disk's checksum when they are read, by the
// checksum of a chunk when it is first touched. Never is a wrong answer given.
TEST_F(ReadyTest, DamageIsNoticedWhereverItIs) {
  EXPECT_EQ(started(), "warm");
  for (const char* const name : {"index", "disk"}) {
    warnings_.clear();
    const fs::path file = copy() / name;
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(static_cast<std::streamoff>(fs::file_size(file) / 2));
    const int byte = stream.peek();
    stream.put(static_cast<char>(byte ^ 1));
    stream.close();
    EXPECT_EQ(started(), "warm") << name;
    EXPECT_NE(warnings_.find("checksum"), std::string::npos) << warnings_;
  }
  for (const char* const name : {"index", "disk", "memory", "cluster"}) {
    warnings_.clear();
    fs::resize_file(copy() / name, fs::file_size(copy() / name) / 2);
    EXPECT_EQ(started(), "warm") << name;
    EXPECT_NE(warnings_, "") << name;
  }
}

TEST_F(ReadyTest, ADamagedPageOfMemoryEndsTheMachineAndIsMadeAnew) {
  EXPECT_EQ(started(), "warm");
  // Every chunk that has anything: whatever the guest touches first is among them.
  std::string bytes = contents_of(copy() / "memory");
  for (std::size_t at = 0; at + 8 <= bytes.size(); at += 4096) {
    if (bytes[at] != 0) bytes[at] = static_cast<char>(bytes[at] ^ 0x40);
  }
  {
    std::fstream stream(copy() / "memory", std::ios::in | std::ios::out | std::ios::binary);
    stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  try {
    Database database = Database::open_in_memory(options_);
    static_cast<void>(database.one<int>("select n from there"));
    FAIL() << "damaged memory went unnoticed";
  } catch (const GuestCrashed& crashed) {
    EXPECT_NE(std::string(crashed.what()).find("damaged"), std::string::npos) << crashed.what();
  } catch (const ConnectionLost&) {  // the same, noticed by the session first
  }
  EXPECT_EQ(started(), "warm");  // the damaged copy is gone
}

TEST_F(ReadyTest, ADamagedReadyFileIsSaidAndTheMachineBoots) {
  const fs::path file = folder_ / "image/ready.snap";
  const std::string good = contents_of(file);
  std::string bad = good;
  bad[bad.size() / 2] = static_cast<char>(bad[bad.size() / 2] ^ 1);
  std::ofstream(file, std::ios::binary) << bad;
  Database database = Database::open_in_memory(options_);
  EXPECT_EQ(database.info().started, "cold");
  EXPECT_NE(warnings_.find("ready.snap"), std::string::npos) << warnings_;
  std::ofstream(file, std::ios::binary) << good;
}

TEST_F(ReadyTest, TwoProcessesUnpackItAtOnceAndBothStart) {
  std::vector<pid_t> children;
  for (int i = 0; i < 2; ++i) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) ::_exit(started() == "warm" ? 0 : 1);
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(started(), "warm");
}

TEST_F(ReadyTest, ALaterDatabaseOfTheProcessTakesOverWhatAClosedOneTranslated) {
  const auto translated = [this] {
    Database database = Database::open_in_memory(options_);
    EXPECT_EQ(database.one<int>("select n from there"), 42);
    if (database.info().executor != "translator") return std::uint64_t{0};
    return database.stats().translator.blocks;
  };
  const std::uint64_t first = translated();
  if (first == 0) GTEST_SKIP() << "nothing is translated here";
  // What this test's process ran before it counts as well: it must only not be the same again.
  std::uint64_t least = first;
  for (int i = 0; i < 3; ++i)
    least = std::min(least, translated());
  constexpr std::uint64_t kFew = 500;  // a machine that knows nothing translates 5,000
  EXPECT_LT(least, kFew) << "the first one translated " << first;
}

TEST_F(ReadyTest, NoMachineCodeComesFromAFile) {
  Database database = Database::open_in_memory(options_);
  EXPECT_EQ(database.one<int>("select n from there"), 42);
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    const bool executable = line.find('x') == line.find(' ') + 3;
    if (!executable) continue;
    EXPECT_EQ(line.find(folder_.string()), std::string::npos) << line;
    EXPECT_EQ(line.find("snowglobe-ram"), std::string::npos) << line;
  }
}

}  // namespace
}  // namespace snowglobe
