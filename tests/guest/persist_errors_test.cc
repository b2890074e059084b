// tests/guest/persist_errors_test.cc - the n-th call to the host's files under a database fails, in
// open, commit, save and close: a typed error each time, and the next open is right.
//
// SNOWGLOBE_IO_ERRORS: the last n (12); every one from 1 on is tried.
#include "api/src/database_state.h"
#include "base/file_system.h"
#include "tests/guest/persist_fixture.h"
#include "tests/support/forwarding_files.h"

#include <atomic>
#include <cstdlib>

namespace snowglobe {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorCode;

/// Counts calls, and has one of them fail.
class Fault {
 public:
  /// `spare_reads`: they neither count nor fail. A read that fails is one statement's error only.
  void arm(int at, bool spare_reads = false) {
    spare_reads_ = spare_reads;
    left_ = at;
  }
  [[nodiscard]] bool now() { return left_.fetch_sub(1) == 1; }
  [[nodiscard]] bool now_reading() { return !spare_reads_ && now(); }
  static Error error(const char* what) {
    return {ErrorCode::kIo, std::string(what) + ": injected Input/output error"};
  }

 private:
  std::atomic<int> left_ = 1 << 30;
  std::atomic<bool> spare_reads_ = false;
};

class FaultyFile final : public test::ForwardingFile {
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

class FaultyFiles final : public test::ForwardingFileSystem {
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

using ErrorsTest = testing::PersistTest;

TEST_F(ErrorsTest, EachIsReportedAndTheNextOpenIsRight) {
  const char* const text = std::getenv("SNOWGLOBE_IO_ERRORS");  // NOLINT(concurrency-mt-unsafe)
  const int last = text != nullptr ? std::atoi(text) : 12;
  {
    Database db = Database::open(path());
    db.script("create table t(n int primary key)");
  }
  Fault fault;
  FaultyFiles files(fault);
  int begun = 0;
  int acknowledged = 0;
  int reported = 0;
  for (int n = 1; n <= last; ++n) {
    fault.arm(n);
    try {
      Database db(detail::DatabaseState::open(path(), {}, files));
      for (int i = 0; i < 5; ++i) {
        begun = acknowledged + 1;
        db.execute("insert into t values ($1)", begun);
        acknowledged = begun;
      }
      const Snapshot state = db.save();
      db.restore(state);
      db.close();
    } catch (const snowglobe::Error& error) {
      ++reported;
      EXPECT_NE(std::string(error.what()), "");
    }
    fault.arm(1 << 30);
    Database db = Database::open(path());
    const int have = db.one<int>("select coalesce(max(n), 0) from t");
    EXPECT_EQ(db.one<int>("select count(*)::int from t"), have) << "n = " << n;
    ASSERT_GE(have, acknowledged) << "n = " << n;
    ASSERT_LE(have, begun) << "n = " << n;
    acknowledged = begun = have;
  }
  std::printf("%d of %d faults met a caller\n", reported, last);
  EXPECT_GT(reported, 0);
}

TEST_F(ErrorsTest, ACreationThatFailsLeavesNothing) {
  Fault fault;
  FaultyFiles files(fault);
  for (int n = 1; n <= 3; ++n) {
    fault.arm(n);
    EXPECT_THROW((void)detail::DatabaseState::open(path(), {}, files), snowglobe::Error) << n;
    EXPECT_FALSE(fs::exists(path())) << n;
  }
  fault.arm(1 << 30);
  Database db(detail::DatabaseState::open(path(), {}, files));
  db.script("create table t(n int)");
}

TEST_F(ErrorsTest, ADiskThatFailedSaysSoUntilItIsOpenedAgain) {
  Fault fault;
  FaultyFiles files(fault);
  Database db(detail::DatabaseState::open(path(), {}, files));
  db.script("create table t(n int)");
  fault.arm(1, true);
  EXPECT_THROW(db.script("insert into t values (1)"), snowglobe::Error);
  EXPECT_THROW(db.script("insert into t values (2)"), DiskFailed);
  EXPECT_THROW((void)db.session(), DiskFailed);
  db.close();
  EXPECT_EQ(Database::open(path()).one<int>("select count(*) from t where n = 2"), 0);
}

}  // namespace
}  // namespace snowglobe
