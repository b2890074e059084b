// tests/api/disk_threads_test.cc - a persistent disk whose images are read, forked from and let go
// by other threads while the guest writes. For ThreadSanitizer; without it a check that images
// never change.
#include "tests/api/disk_driver.h"

#include <atomic>
#include <mutex>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace snowglobe::detail {
namespace {

using namespace std::chrono_literals;
using test::Contents;
using test::kBlock;
using vm::u64;

constexpr u64 kPages = 200;

/// What other threads do with images: each has one and the same byte in its first hundred pages.
class Readers {
 public:
  explicit Readers(int count) {
    for (int i = 0; i < count; ++i)
      threads_.emplace_back([this] { run(); });
  }
  ~Readers() { stop(); }
  void stop() {
    done_ = true;
    for (std::thread& thread : threads_)
      thread.join();
    threads_.clear();
    shelf_.clear();
  }
  void offer(std::shared_ptr<const DiskImage> image) {
    const std::lock_guard lock(mutex_);
    if (shelf_.size() < 4) shelf_.push_back(std::move(image));
  }
  [[nodiscard]] int checked() const { return checked_; }

 private:
  void run() {
    while (!done_) {
      std::shared_ptr<const DiskImage> image;
      {
        const std::lock_guard lock(mutex_);
        if (shelf_.empty()) continue;
        image = std::move(shelf_.back());
        shelf_.pop_back();
      }
      OverlayDisk fork(image, 0);
      EXPECT_TRUE(fork.write(150 * kBlock, Contents(512, 77)).ok());
      const auto outline = image->outline();
      image.reset();
      Contents bytes(100 * kBlock);
      EXPECT_TRUE(fork.read(0, bytes).ok());
      EXPECT_EQ(std::count(bytes.begin(), bytes.end(), bytes[0]), 100 * kBlock);
      u64 listed = 0;
      fork.capture().value()->for_each_difference(outline.get(), kBlock,
                                                  [&](u64, u64) { ++listed; });
      EXPECT_EQ(listed, 1u);
      ++checked_;
    }
  }

  std::mutex mutex_;
  std::vector<std::shared_ptr<const DiskImage>> shelf_;
  std::atomic<bool> done_ = false;
  std::atomic<int> checked_ = 0;
  std::vector<std::thread> threads_;
};

TEST(DiskThreads, ImagesAreReadAndReleasedByOthersWhileTheGuestWrites) {
  const test::DiskFolder folder;
  const auto path = folder.path() / "disk";
  ASSERT_TRUE(PersistentDisk::create(path, *test::striped_image(1), kPages * kBlock).ok());
  auto disk = PersistentDisk::open(path, {}).value();
  ASSERT_TRUE(disk->mark_running().ok());
  Readers readers(2);
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  for (int round = 1; round <= 60 || readers.checked() < 30; ++round) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
    vm::AsyncBlock& block = *disk->asynchronous();
    block.attach([] {});
    const Contents bytes(100 * kBlock, static_cast<std::uint8_t>(round));
    const base::ConstBytes all(bytes);
    (void)block.submit_write(1, 0, {&all, 1});
    (void)block.submit_flush(2);
    ASSERT_TRUE(block.wait_idle(10s));
    block.take_completions([](const auto& completion) { EXPECT_TRUE(completion.ok); });
    const auto image = disk->capture().value();
    readers.offer(image);
    const base::ConstBytes part = all.first(10 * kBlock);
    (void)block.submit_discard(3, 0, 5 * kBlock);
    (void)block.submit_write(4, 5 * kBlock, {&part, 1});
    ASSERT_TRUE(block.wait_idle(10s));
    block.take_completions([](const auto& completion) { EXPECT_TRUE(completion.ok); });
    if (round % 7 == 0) {
      ASSERT_TRUE(disk->restore(image).ok());
    }
    if (round % 20 == 0) {  // closed and opened again while images of it are read
      disk.reset();
      disk = PersistentDisk::open(path, {}).value();
      ASSERT_TRUE(disk->mark_running().ok());
    }
  }
}

TEST(DiskThreads, ClosingAndAttachingDoNotWaitForWhatIsUnderWay) {
  const test::DiskFolder folder;
  const auto path = folder.path() / "disk";
  ASSERT_TRUE(PersistentDisk::create(path, *test::striped_image(1), kPages * kBlock).ok());
  for (int round = 0; round < 20; ++round) {
    auto disk = PersistentDisk::open(path, {}).value();
    ASSERT_TRUE(disk->mark_running().ok());
    vm::AsyncBlock& block = *disk->asynchronous();
    std::atomic<int> wakes = 0;
    block.attach([&wakes] { ++wakes; });
    const Contents bytes(kPages * kBlock, 1);
    const base::ConstBytes all(bytes);
    (void)block.submit_write(1, 0, {&all, 1});
    (void)block.submit_flush(2);
    std::thread closer([&disk] { disk->close(); });
    block.attach(nullptr);
    const int then = wakes;
    closer.join();
    disk.reset();
    EXPECT_EQ(wakes, then);
  }
}

/// The parent's threads and locks are not there: letting go must not wait for them.
TEST(DiskThreads, AForkedChildLetsGoOfDisksAndImages) {
  const test::DiskFolder folder;
  const auto path = folder.path() / "disk";
  ASSERT_TRUE(PersistentDisk::create(path, *test::striped_image(1), kPages * kBlock).ok());
  auto disk = PersistentDisk::open(path, {}).value();
  ASSERT_TRUE(disk->mark_running().ok());
  auto image = disk->capture().value();
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    image.reset();
    disk.reset();
    _exit(0);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  ASSERT_TRUE(disk->write(0, Contents(kBlock, 9)).ok());
  EXPECT_GT(disk->own_bytes(), 0u) << "the parent's image is still there";
  EXPECT_EQ(test::contents_of(*image)[0], 1);
}

}  // namespace
}  // namespace snowglobe::detail
