// tests/guest/persist_errors_test.cc - the n-th call to the host's files under a database fails, in
// open, commit, save and close: a typed error each time, and the next open is right.
//
// SNOWGLOBE_IO_ERRORS: the last n (12); every one from 1 on is tried.
#include "api/src/database_state.h"
#include "api/src/host_files.h"
#include "tests/guest/persist_fixture.h"

#include <atomic>
#include <cstdlib>

namespace snowglobe {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::ErrorCode;
using detail::HostFile;
using detail::HostFiles;

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

class FaultyFile final : public HostFile {
 public:
  FaultyFile(std::unique_ptr<HostFile> file, Fault& fault)
      : file_(std::move(file)), fault_(fault) {}
  base::Result<bool> read(vm::u64 offset, std::span<const base::Bytes> parts, Wait wait) override {
    if (fault_.now_reading()) return Fault::error("read");
    return file_->read(offset, parts, wait);
  }
  base::Result<void> write(vm::u64 offset, std::span<const base::ConstBytes> parts) override {
    if (fault_.now()) return Fault::error("write");
    return file_->write(offset, parts);
  }
  base::Result<void> sync() override {
    if (fault_.now()) return Fault::error("sync");
    return file_->sync();
  }
  base::Result<bool> punch(vm::u64 offset, vm::u64 length) override {
    if (fault_.now()) return Fault::error("punch");
    return file_->punch(offset, length);
  }
  base::Result<void> set_size(vm::u64 bytes) override {
    if (fault_.now()) return Fault::error("grow");
    return file_->set_size(bytes);
  }
  base::Result<vm::u64> size() override { return file_->size(); }
  base::Result<vm::u64> allocated() override { return file_->allocated(); }
  std::optional<std::pair<vm::u64, vm::u64>> next_data(vm::u64 from, vm::u64 end) override {
    return file_->next_data(from, end);
  }
  [[nodiscard]] Identity identity() const override { return file_->identity(); }

 private:
  std::unique_ptr<HostFile> file_;
  Fault& fault_;
};

class FaultyFiles final : public HostFiles {
 public:
  explicit FaultyFiles(Fault& fault) : fault_(fault) {}
  base::Result<std::unique_ptr<HostFile>> create(const Path& path) override {
    if (fault_.now()) return Fault::error("create");
    return wrap(host().create(path));
  }
  base::Result<std::unique_ptr<HostFile>> open(const Path& path, Access access) override {
    if (fault_.now()) return Fault::error("open");
    return wrap(host().open(path, access));
  }
  base::Result<void> rename(const Path& from, const Path& to) override {
    if (fault_.now()) return Fault::error("rename");
    return host().rename(from, to);
  }
  base::Result<void> remove(const Path& path) override {
    if (fault_.now()) return Fault::error("remove");
    return host().remove(path);
  }
  base::Result<void> sync_folder(const Path& path) override {
    if (fault_.now()) return Fault::error("sync of the folder");
    return host().sync_folder(path);
  }
  bool exists(const Path& path) override { return host().exists(path); }

 private:
  base::Result<std::unique_ptr<HostFile>> wrap(base::Result<std::unique_ptr<HostFile>> file) {
    if (!file) return file;
    return std::unique_ptr<HostFile>(std::make_unique<FaultyFile>(std::move(file).value(), fault_));
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
      Database db(detail::DatabaseState::open(path(), {}, &files));
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
    EXPECT_THROW((void)detail::DatabaseState::open(path(), {}, &files), snowglobe::Error) << n;
    EXPECT_FALSE(fs::exists(path())) << n;
  }
  fault.arm(1 << 30);
  Database db(detail::DatabaseState::open(path(), {}, &files));
  db.script("create table t(n int)");
}

TEST_F(ErrorsTest, ADiskThatFailedSaysSoUntilItIsOpenedAgain) {
  Fault fault;
  FaultyFiles files(fault);
  Database db(detail::DatabaseState::open(path(), {}, &files));
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
