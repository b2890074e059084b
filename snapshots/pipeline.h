// snapshots/pipeline.h - hashes and compresses chunks beside the caller, on a few threads, with a
// bounded number of chunks under way.
#pragma once

#include "snapshots/chunk_sink.h"

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace snowglobe::snapshots {

/// Thread rule: submit() and drain() by one thread at a time.
class Pipeline {
 public:
  struct Task {
    std::size_t object = 0;
    std::uint64_t index = 0;
    std::uint64_t turn = 0;
    std::vector<std::uint8_t> bytes;
  };
  /// Called for each task with where its chunk is, on any thread, several at once.
  using Done = std::function<void(const Task&, base::Result<ChunkRef>)>;

  /// threads == 0: submit() does the work itself.
  Pipeline(ChunkSink& sink, unsigned threads, int compression_level, Done done);
  /// Drops what nobody has begun with.
  ~Pipeline();
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  /// Copies `bytes`. Waits while the queue is full.
  void submit(std::size_t object, std::uint64_t index, std::uint64_t turn, base::ConstBytes bytes);
  /// Returns when nothing is under way.
  void drain();

 private:
  void start_threads();
  void work();

  ChunkSink& sink_;
  const unsigned thread_count_;
  const int level_;
  const Done done_;
  const int process_;
  std::unique_ptr<RecordMaker> own_maker_;  // without threads
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Task> queue_;
  std::vector<std::vector<std::uint8_t>> spare_;  // buffers to use again
  unsigned busy_ = 0;
  bool stopping_ = false;
};

}  // namespace snowglobe::snapshots
