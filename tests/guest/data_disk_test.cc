// tests/guest/data_disk_test.cc - the guest's data disk by itself: a machine that waits for one,
// gets another one than it had, and keeps to a limit. Machines alone, and the agent's client.
#include "api/src/agent.h"
#include "api/src/asio_loop.h"
#include "api/src/disks.h"
#include "base/clock.h"
#include "base/random.h"
#include "guest/agent/protocol.h"
#include "tests/support/read_file.h"
#include "vm/machine.h"
#include "vm/memory/ram_image.h"

#include <asio/post.hpp>
#include <condition_variable>
#include <cstdlib>
#include <future>
#include <gtest/gtest.h>
#include <mutex>
#include <nlohmann/json.hpp>

namespace snowglobe::detail {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;
using vm::u64;

constexpr auto kPatience = std::chrono::minutes(4);

std::string image_folder() {
  const char* const chosen = std::getenv("SNOWGLOBE_IMAGE");  // NOLINT(concurrency-mt-unsafe)
  return chosen != nullptr ? chosen : SNOWGLOBE_BUILD_TREE_IMAGE;
}

template <class T>
T must(base::Result<T> result) {
  if (!result) {
    ADD_FAILURE() << result.error().message;
    std::abort();
  }
  return std::move(result).value();
}

std::vector<std::uint8_t> must_read(const std::string& name) {
  auto bytes = snowglobe::test::read_file(image_folder() + "/" + name);
  EXPECT_TRUE(bytes.has_value()) << name << ": run ./dev guest";
  return bytes.value_or(std::vector<std::uint8_t>{});
}

std::shared_ptr<const SparseDisk> cluster() {
  static const auto disk = must(SparseDisk::unpack(must_read("cluster.disk.zst"), u64{1} << 30));
  return disk;
}

double milliseconds_since(steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(steady_clock::now() - start).count();
}

class DeadNetwork final : public base::FrameReceiver {
 public:
  void on_frame(base::ConstBytes, const base::FrameOffload&) override {}
  void on_transmit_ready() override {}
};

/// A machine at one instant, without its disks.
struct Picture {
  vm::MachineImage machine;
  std::string agent;
};

class Pc {
 public:
  explicit Pc(const std::string& words, const Picture* from = nullptr,
              std::shared_ptr<const DiskImage> disk = nullptr)
      : root_(must(FileDisk::open(image_folder() + "/root.erofs"))),
        data_(disk ? std::make_unique<OverlayDisk>(std::move(disk), 0)
                   : std::make_unique<OverlayDisk>(cluster(), 0)) {
    AgentEvents events;
    events.hello = [](const std::string&) {};
    events.progress = [this](const std::string& step) { note(step); };
    events.postgres_ready = [this] { note("ready"); };
    events.postgres_exited = [this](int) { note("exited"); };
    events.boot_failed = [this](const std::string& why) { note("failed: " + why); };
    events.log = [this](bool, const std::string& line) { note(line); };
    agent_ = std::make_unique<AgentClient>(loop_.context(), std::move(events));
    const std::vector<std::uint8_t> kernel = must_read("vmlinux");
    const auto manifest = nlohmann::json::parse(must_read("manifest.json"));
    vm::MachineConfig config;
    config.memory_bytes = u64{128} << 20;
    config.kernel = kernel;
    config.command_line = manifest.at("command_line").get<std::string>() + " " + words;
    config.disks = {{root_.get(), "root"}, {data_.get(), "data"}};
    config.network = &network_;
    config.ports = {{SNOWGLOBE_PORT_NAME, agent_.get()}};
    config.clock = &clock_;
    config.random = &random_;
    config.loop = &loop_;
    if (from != nullptr) config.start_from = &from->machine;
    machine_ = must(vm::Machine::create(config));
    agent_->attach(*machine_, 0);
    if (from != nullptr) {
      const base::ConstBytes state(
          static_cast<const std::uint8_t*>(static_cast<const void*>(from->agent.data())),
          from->agent.size());
      EXPECT_TRUE(agent_->restore(state).ok());
    }
    EXPECT_TRUE(machine_->start([this](vm::MachineEnd) { note("ended"); }).ok());
  }
  ~Pc() {
    agent_->end({base::ErrorCode::kUnavailable, "over"});
    machine_->stop();
  }
  Pc(const Pc&) = delete;
  Pc& operator=(const Pc&) = delete;

  /// Waits for a step or a line of the log with that in it.
  void wait_for(const std::string& what) {
    std::unique_lock lock(mutex_);
    const bool came = changed_.wait_for(lock, kPatience, [&] {
      return heard_.find(what) != std::string::npos || heard_.find("ended") != std::string::npos;
    });
    ASSERT_TRUE(came && heard_.find(what) != std::string::npos) << what << ", not in: " << heard_;
  }
  [[nodiscard]] std::string heard() const {
    const std::lock_guard lock(mutex_);
    return heard_;
  }
  void forget() {
    const std::lock_guard lock(mutex_);
    heard_.clear();
  }

  AgentClient& agent() { return *agent_; }
  std::string run(const std::vector<std::string>& arguments) {
    ExecOptions options;
    options.limit = std::chrono::minutes(2);
    const ExecResult result = must(agent_->exec(arguments, options));
    EXPECT_EQ(result.exit_code, 0) << arguments.front() << ": " << result.err;
    return result.out;
  }
  std::string sql(const std::string& statement) {
    ExecOptions options;
    options.limit = std::chrono::minutes(2);
    const ExecResult result =
        must(agent_->exec({"psql", "-h", "/tmp", "-qAtX", "-c", statement}, options));
    std::string said = result.out + result.err;
    while (!said.empty() && said.back() == '\n')
      said.pop_back();
    return said;
  }
  /// Value of a line of the guest's /proc/meminfo.
  long memory(const std::string& name) {
    const std::string text = run({"cat", "/proc/meminfo"});
    const std::size_t at = text.find(name + ":");
    return at == std::string::npos ? -1 : std::atol(text.c_str() + at + name.size() + 1);
  }

  Picture capture() {
    std::promise<Picture> picture;
    asio::post(loop_.context(), [&] {
      picture.set_value({must(machine_->capture()), agent_->save()});
    });
    return picture.get_future().get();
  }
  /// While it stands still or nobody writes.
  std::shared_ptr<const DiskImage> disk() {
    std::promise<std::shared_ptr<const DiskImage>> image;
    asio::post(loop_.context(), [&] { image.set_value(data_->capture().value()); });
    return image.get_future().get();
  }
  [[nodiscard]] u64 disk_bytes() const { return data_->content_bytes(); }

 private:
  void note(const std::string& text) {
    const std::lock_guard lock(mutex_);
    heard_ += text + "\n";
    changed_.notify_all();
  }

  base::SystemClock clock_;
  base::SystemRandom random_;
  AsioLoop loop_;
  DeadNetwork network_;
  std::unique_ptr<FileDisk> root_;
  std::unique_ptr<OverlayDisk> data_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::string heard_;
  std::unique_ptr<AgentClient> agent_;
  std::unique_ptr<vm::Machine> machine_;
};

/// A cluster in which somebody has worked.
std::shared_ptr<const DiskImage> used_disk() {
  static const std::shared_ptr<const DiskImage> disk = [] {
    Pc pc("");
    pc.wait_for("ready");
    EXPECT_EQ(pc.sql("create table here as select 42 as n"), "");
    EXPECT_TRUE(pc.agent().stop_postgres(1, Deadline(1min)).ok());
    EXPECT_TRUE(pc.agent().unmount_data(Deadline(1min)).ok());
    return pc.disk();
  }();
  return disk;
}

void goes_on_with(const Picture& bare, const std::shared_ptr<const DiskImage>& disk,
                  const char* what) {
  const auto start = steady_clock::now();
  Pc pc("", &bare, disk);
  EXPECT_NE(pc.sql("select 1"), "1") << "PostgreSQL runs without a disk";
  const double up = milliseconds_since(start);
  const GuestDiskSize size = must(pc.agent().mount_data(0, 0, Deadline(1min)));
  EXPECT_GT(size.size, u64{3} << 30);
  EXPECT_GT(size.used, u64{20} << 20);
  EXPECT_LT(size.used, u64{200} << 20);
  EXPECT_FALSE(pc.agent().mount_data(0, 0, Deadline(1min)).ok()) << "mounted twice";
  const double mounted = milliseconds_since(start);
  ASSERT_TRUE(pc.agent().start_postgres({"work_mem=3MB"}, Deadline(1min)).ok());
  pc.wait_for("ready");
  const double ready = milliseconds_since(start);
  EXPECT_EQ(pc.sql("select n from here"), "42");
  EXPECT_EQ(pc.sql("show work_mem"), "3MB");
  std::printf("%s: up %.0f, mounted %.0f, ready %.0f, first answer %.0f ms\n", what, up, mounted,
              ready, milliseconds_since(start));
}

TEST(DataDisk, AMachineCanWaitForItAndGoOnWithAnyOther) {
  Picture bare;
  {
    Pc pc("snowglobe.data=wait");
    pc.wait_for("waiting for the data disk");
    EXPECT_FALSE(pc.agent().start_postgres({}, Deadline(1min)).ok());
    EXPECT_FALSE(pc.agent().disk_limit(0, 0, Deadline(1min)).ok());
    bare = pc.capture();
  }
  goes_on_with(bare, used_disk(), "bare, never had a disk");
}

TEST(DataDisk, AMachineCanGiveItBackAndGoOnWithAnother) {
  Picture bare;
  {
    Pc pc("");
    pc.wait_for("ready");
    EXPECT_EQ(pc.sql("create table elsewhere as select 1"), "");
    const long huge = pc.memory("HugePages_Total");
    EXPECT_GT(huge, 4);
    EXPECT_FALSE(pc.agent().unmount_data(Deadline(1min)).ok()) << "PostgreSQL runs on it";
    ASSERT_TRUE(pc.agent().stop_postgres(1, Deadline(1min)).ok());
    ASSERT_TRUE(pc.agent().unmount_data(Deadline(1min)).ok());
    constexpr long kOfCode = 3;  // of the postmaster that waits
    EXPECT_EQ(pc.memory("HugePages_Total"), huge);
    EXPECT_EQ(pc.memory("HugePages_Free"), huge - kOfCode);
    EXPECT_TRUE(pc.agent().quiesce(SNOWGLOBE_QUIESCE_SYNC, Deadline(1min)).ok());
    bare = pc.capture();
    std::vector<std::uint8_t> page(vm::kPageSize);
    unsigned used = 0;
    bare.machine.memory->for_each_difference(nullptr, [&](vm::u32 number) {
      used += bare.machine.memory->read(number, page) && !base::all_zero(page) ? 1 : 0;
    });
    std::printf("bare, gave its disk back: %.1f MB are not zero\n", used * 4096 / 1e6);
  }
  goes_on_with(bare, used_disk(), "bare, gave its disk back");
  Pc again("", &bare, used_disk());
  must(again.agent().mount_data(0, 0, Deadline(1min)));
  ASSERT_TRUE(again.agent().start_postgres({}, Deadline(1min)).ok());
  again.wait_for("ready");
  EXPECT_NE(again.sql("select * from elsewhere"), "1") << "something of the old disk was kept";
  EXPECT_GT(again.memory("HugePages_Total"), 4) << "memory fell apart";
  EXPECT_EQ(again.memory("HugePages_Rsvd"), again.memory("HugePages_Free"));
}

TEST(DataDisk, APostmasterWaitsForItAndGoesOnWithItsConfiguration) {
  Picture bare;
  {
    Pc pc("snowglobe.data=wait");
    pc.wait_for("waiting for the data disk");
    bare = pc.capture();
  }
  const auto mount = [](Pc& pc) {
    must(pc.agent().mount_data(0, 0, Deadline(1min)));
    pc.run({"sh", "-c", "echo work_mem=7MB >> /var/lib/postgresql/data/postgresql.conf"});
  };
  const auto start = [](Pc& pc) {
    ASSERT_TRUE(pc.agent().start_postgres({}, Deadline(1min)).ok());
    pc.wait_for("ready");
    EXPECT_EQ(pc.sql("show work_mem"), "7MB");
    EXPECT_EQ(pc.sql("show config_file"), "/var/lib/postgresql/data/postgresql.conf");
    EXPECT_EQ(pc.sql("select n from here"), "42");
  };
  const std::string of_postmaster = "head -n 1 /var/lib/postgresql/data/postmaster.pid";
  {
    Pc pc("", &bare, used_disk());
    const std::string waiting = pc.run({"pidof", "postgres"});
    mount(pc);
    start(pc);
    EXPECT_EQ(pc.run({"sh", "-c", of_postmaster}), waiting);
  }
  Pc pc("", &bare, used_disk());
  const std::string waiting = pc.run({"pidof", "postgres"});
  pc.run({"killall", "-9", "postgres"});
  pc.wait_for("the parked postmaster ended");
  pc.forget();
  mount(pc);
  start(pc);
  EXPECT_NE(pc.run({"sh", "-c", of_postmaster}), waiting);
}

TEST(DataDisk, WhatIsDeletedIsGivenBack) {
  Pc pc("");
  pc.wait_for("ready");
  const u64 before = pc.disk_bytes();
  EXPECT_EQ(pc.sql("create table large as select repeat('x', 1000) from generate_series(1, 60000)"),
            "");
  EXPECT_EQ(pc.sql("checkpoint"), "");
  EXPECT_GT(pc.disk_bytes(), before + (50 << 20));
  EXPECT_EQ(pc.sql("drop table large"), "");
  EXPECT_EQ(pc.sql("checkpoint"), "");
  EXPECT_TRUE(pc.agent().quiesce(SNOWGLOBE_QUIESCE_SYNC, Deadline(1min)).ok());
  const u64 trimmed = must(pc.agent().trim(1min));
  std::printf("disk: %.1f MB before, %.1f after; trim gave back %.1f\n", double(before) / 1e6,
              double(pc.disk_bytes()) / 1e6, double(trimmed) / 1e6);
  EXPECT_LT(pc.disk_bytes(), before + (90 << 20)) << "the log may have grown, the table is gone";
}

TEST(DataDisk, ALimitIsWhatStatementsSee) {
  Pc pc("snowglobe.disk_limit=134217728");
  pc.wait_for("ready");
  const auto fill = [&] {
    return pc.sql("create table fill as select repeat('x', 1000) from generate_series(1, 200000)");
  };
  EXPECT_NE(fill().find("No space left on device"), std::string::npos);
  EXPECT_EQ(pc.sql("select 1"), "1");
  const GuestDiskSize raised = must(pc.agent().disk_limit(0, u64{1} << 30, Deadline(1min)));
  EXPECT_EQ(raised.size, u64{1} << 30);
  EXPECT_EQ(fill(), "");
  const GuestDiskSize full = must(pc.agent().disk_limit(0, u64{128} << 20, Deadline(1min)));
  EXPECT_EQ(full.size, u64{128} << 20);
  EXPECT_GT(full.used, full.size) << "a limit below what is used is a full disk";
  EXPECT_NE(pc.sql("create table more as select * from fill").find("No space left on device"),
            std::string::npos);
  EXPECT_EQ(pc.sql("drop table fill; select 1"), "1");
  EXPECT_EQ(pc.heard().find("PANIC"), std::string::npos);
}

}  // namespace
}  // namespace snowglobe::detail
