// snapshots/pipeline.cc - a queue and its threads.
#include "snapshots/pipeline.h"

#include <csignal>
#include <pthread.h>
#include <system_error>
#include <unistd.h>

namespace snowglobe::snapshots {

namespace {

constexpr std::size_t kQueuedPerThread = 4;

}  // namespace

Pipeline::Pipeline(ChunkSink& sink, unsigned threads, int compression_level, Done done)
    : sink_(sink),
      thread_count_(threads),
      level_(compression_level),
      done_(std::move(done)),
      process_(::getpid()) {}

Pipeline::~Pipeline() {
  if (process_ != ::getpid()) {
    // A child after fork(): it has no such threads to wait for.
    for (std::thread& thread : threads_)
      thread.detach();
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    queue_.clear();
  }
  changed_.notify_all();
  for (std::thread& thread : threads_)
    thread.join();
}

void Pipeline::start_threads() {
  // The application's signals are for the application's threads.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    while (threads_.size() < thread_count_)
      threads_.emplace_back([this] { work(); });
  } catch (const std::system_error&) {
    // No more threads to be had: fewer do, or the caller.
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Pipeline::submit(std::size_t object, std::uint64_t index, std::uint64_t turn,
                      base::ConstBytes bytes) {
  Task task{object, index, turn, {}};
  if (threads_.empty()) start_threads();
  if (threads_.empty()) {
    if (own_maker_ == nullptr) own_maker_ = std::make_unique<RecordMaker>(level_);
    done_(task, sink_.add(bytes, *own_maker_));
    return;
  }
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return queue_.size() < kQueuedPerThread * threads_.size(); });
  if (!spare_.empty()) {
    task.bytes = std::move(spare_.back());
    spare_.pop_back();
  }
  lock.unlock();  // only this thread makes the queue longer
  task.bytes.assign(bytes.begin(), bytes.end());
  lock.lock();
  queue_.push_back(std::move(task));
  lock.unlock();
  changed_.notify_all();
}

void Pipeline::drain() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return queue_.empty() && busy_ == 0; });
}

void Pipeline::work() {
  RecordMaker maker(level_);
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    Task task = std::move(queue_.front());
    queue_.pop_front();
    ++busy_;
    lock.unlock();
    done_(task, sink_.add(task.bytes, maker));
    lock.lock();
    --busy_;
    spare_.push_back(std::move(task.bytes));
    changed_.notify_all();
  }
}

}  // namespace snowglobe::snapshots
