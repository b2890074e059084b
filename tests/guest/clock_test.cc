// tests/guest/clock_test.cc - a wall clock that jumps, as after each restore: what PostgreSQL waits
// for comes neither early nor late. (See "Another life" in docs/guest.md.)
#include "tests/guest/machine_fixture.h"

#include <future>
#include <thread>

namespace snowglobe {
namespace {

using namespace std::chrono_literals;
using testing::MachineTest;

class ClockTest : public MachineTest {
 protected:
  /// Sets the guest's clock some time from now, from within.
  static std::future<void> jump(const std::string& date, const char* after_seconds) {
    return std::async(std::launch::async, [=] {
      const ExecResult result = db().guest().exec(
          {"sh", "-c", std::string("sleep ") + after_seconds + "; date -s '" + date + "'"});
      EXPECT_EQ(result.exit_code, 0) << result.err;
    });
  }
  /// By the monotonic clock of the guest: the host may be slow.
  static double uptime() {
    return std::stod(db().guest().exec({"cut", "-d ", "-f1", "/proc/uptime"}).out);
  }
};

TEST_F(ClockTest, ASleepEndsInTimeWhenTheClockIsSetBack) {
  Session session = db().session();
  auto jumped = jump("2020-01-01", "0.5");
  const double start = uptime();
  session.execute("select pg_sleep(2)");
  EXPECT_LT(uptime() - start, 10);
  jumped.get();
}

TEST_F(ClockTest, ADeadlockIsFoundWhenTheClockIsSetBackWhileItLasts) {
  Session one = db().session();
  Session other = db().session();
  one.script(
      "create table pair (i int primary key, v int); insert into pair values (1, 0), (2, 0)");
  Transaction first = one.begin();
  Transaction second = other.begin();
  first.execute("set local deadlock_timeout = '2s'");
  second.execute("set local deadlock_timeout = '2s'");
  first.execute("update pair set v = 1 where i = 1");
  second.execute("update pair set v = 1 where i = 2");
  auto jumped = jump("2010-01-01", "0.5");
  const double start = uptime();
  auto waiting = std::async(std::launch::async, [&] {
    try {
      first.execute("update pair set v = 1 where i = 2");
      return 0;
    } catch (const SqlError& error) {
      return error.sqlstate() == "40P01" ? 1 : 100;
    }
  });
  int victims = 0;
  try {
    second.execute("update pair set v = 1 where i = 1");
  } catch (const SqlError& error) {
    victims = error.sqlstate() == "40P01" ? 1 : 100;
  }
  second.rollback();
  victims += waiting.get();
  EXPECT_EQ(victims, 1);
  EXPECT_LT(uptime() - start, 20);
  jumped.get();
}

TEST_F(ClockTest, AStatementHasItsWholeTimeWhenTheClockIsSetForward) {
  Session holder = db().session();
  Session session = db().session();
  holder.script("create table patient (i int); insert into patient values (1)");
  Transaction held = holder.begin();
  held.execute("update patient set i = 2");
  session.execute("set statement_timeout = '60s'");
  auto jumped = jump("2033-01-01", "0.5");
  // Its wait for the lock begins a limit beside the statement's, and so looks at what is due.
  auto waiting = std::async(std::launch::async, [&] {
    session.execute("do $$begin perform pg_sleep(2); perform * from patient for update; end$$");
  });
  std::this_thread::sleep_for(3500ms);
  held.commit();
  EXPECT_NO_THROW(waiting.get());
  jumped.get();
}

TEST_F(ClockTest, AStatementIsEndedInTimeWhenTheClockIsSetBack) {
  Session session = db().session();
  session.execute("set statement_timeout = '3s'");
  auto jumped = jump("2009-01-01", "0.5");
  const double start = uptime();
  EXPECT_THROW(session.execute("select pg_sleep(60)"), SqlError);
  EXPECT_LT(uptime() - start, 20);
  jumped.get();
}

}  // namespace
}  // namespace snowglobe
