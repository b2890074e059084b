// tests/api/flush_policy_test.cc - when the machine's thread syncs by itself, and when it lets
// another do it.
#include "api/src/flush_policy.h"

#include "api/src/persistent_disk.h"
#include "tests/api/disk_world.h"

#include <gtest/gtest.h>
#include <thread>

namespace snowglobe::detail {
namespace {

using namespace std::chrono_literals;
using vm::BlockAnswer;

int flushes_here(FlushPolicy& policy) {
  int count = 0;
  while (count < 1000 && policy.here())
    ++count;
  return count;
}

/// Flushes on another thread that leave the guest idle.
void probe(FlushPolicy& policy, int count) {
  for (int i = 0; i < count; ++i) {
    EXPECT_EQ(flushes_here(policy), 0);
    policy.ended_elsewhere(200us, 20us);
  }
}

TEST(FlushPolicy, AsksAnotherThreadFirstAndNowAndThen) {
  FlushPolicy policy;
  probe(policy, FlushPolicy::kProbes);
  EXPECT_EQ(flushes_here(policy), FlushPolicy::kBetweenProbes);
  probe(policy, 1);
  EXPECT_EQ(flushes_here(policy), FlushPolicy::kBetweenProbes);
}

TEST(FlushPolicy, LeavesTheThreadToAGuestThatHasSomethingElseToDo) {
  FlushPolicy policy;
  probe(policy, FlushPolicy::kProbes);
  EXPECT_EQ(flushes_here(policy), FlushPolicy::kBetweenProbes);
  policy.ended_elsewhere(200us, 150us);
  probe(policy, FlushPolicy::kProbes);
  EXPECT_EQ(flushes_here(policy), FlushPolicy::kBetweenProbes);
}

TEST(FlushPolicy, NeverLetsTheGuestWaitForASlowDisk) {
  FlushPolicy policy;
  for (int i = 0; i < 100; ++i) {
    policy.ended_elsewhere(5ms, 20us);
    EXPECT_EQ(flushes_here(policy), 0);
  }
}

TEST(FlushPolicy, StaysAwayForAWhileAfterASlowSync) {
  FlushPolicy policy;
  probe(policy, FlushPolicy::kProbes);
  ASSERT_TRUE(policy.here());
  policy.ended_here(4ms);
  probe(policy, FlushPolicy::kAfterSlow);
  EXPECT_EQ(flushes_here(policy), FlushPolicy::kBetweenProbes);
}

TEST(FlushPolicy, AnIdleMachinesThreadFlushesTheDiskItself) {
  const test::DiskFolder folder;
  const auto path = folder.path() / "disk";
  ASSERT_TRUE(PersistentDisk::create(path, *test::striped_image(1), 1 << 20).ok());
  auto disk = PersistentDisk::open(path, {}).value();
  ASSERT_TRUE(disk->mark_running().ok());
  vm::AsyncBlock& block = *disk->asynchronous();
  block.attach([] {});
  const std::vector<std::uint8_t> bytes(4096, 1);
  const base::ConstBytes all(bytes);
  int at_once = 0, later = 0;
  const auto deadline = std::chrono::steady_clock::now() + 30s;  // a busy host's sync is not quick
  while (at_once == 0 && std::chrono::steady_clock::now() < deadline) {
    ASSERT_NE(block.submit_write(1, 0, {&all, 1}), BlockAnswer::kFailed);
    const std::uint64_t syncs = disk->statistics().syncs;
    const BlockAnswer answer = block.submit_flush(2);
    ASSERT_NE(answer, BlockAnswer::kFailed);
    (answer == BlockAnswer::kDone ? at_once : later)++;
    while (!block.has_completions() && answer == BlockAnswer::kLater)
      std::this_thread::sleep_for(100us);
    block.take_completions([](const auto& completion) { EXPECT_TRUE(completion.ok); });
    EXPECT_GT(disk->statistics().syncs, syncs);
  }
  EXPECT_GT(later, 0);
  EXPECT_GT(at_once, 0);
}

}  // namespace
}  // namespace snowglobe::detail
