// api/src/io_worker.cc - a thread with a list of jobs.
#include "api/src/io_worker.h"

#include "vm/blocked_signals.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <pthread.h>
#include <string>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>

namespace snowglobe::detail {

struct IoWorker::Body {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Job> jobs;
  bool busy = false;
  bool leaving = false;
  std::thread thread;
  pid_t owner = getpid();

  void run();
};

void IoWorker::Body::run() {
  std::unique_lock lock(mutex);
  for (;;) {
    Job job;
    if (!jobs.empty()) {
      job = std::move(jobs.front());
      jobs.pop_front();
      busy = true;
    } else if (leaving) {
      return;
    } else {
      changed.wait(lock);
      continue;
    }
    lock.unlock();
    job();
    job = nullptr;  // what it holds may be much
    lock.lock();
    busy = false;
    if (jobs.empty()) changed.notify_all();
  }
}

IoWorker::IoWorker(std::unique_ptr<Body> body) : body_(std::move(body)) {}

base::Result<std::unique_ptr<IoWorker>> IoWorker::start(const char* name) {
  auto body = std::make_unique<Body>();
  const vm::AsyncSignalsBlocked blocked;
  try {
    body->thread = std::thread([body = body.get()] { body->run(); });
  } catch (const std::system_error& refused) {
    return base::Error{base::ErrorCode::kResourceExhausted,
                       std::string("start a thread for the disk: ") + refused.what()};
  }
  pthread_setname_np(body->thread.native_handle(), name);
  return std::unique_ptr<IoWorker>(new IoWorker(std::move(body)));
}

IoWorker::~IoWorker() {
  if (getpid() != body_->owner) {
    static_cast<void>(body_.release());  // a forked child's copy: thread and locks are the parent's
    return;
  }
  {
    const std::lock_guard lock(body_->mutex);
    body_->leaving = true;
  }
  body_->changed.notify_all();
  body_->thread.join();
}

void IoWorker::post(Job job) {
  {
    const std::lock_guard lock(body_->mutex);
    body_->jobs.push_back(std::move(job));
  }
  body_->changed.notify_all();
}

bool IoWorker::wait_idle(std::chrono::nanoseconds limit) {
  std::unique_lock lock(body_->mutex);
  return body_->changed.wait_for(lock, limit,
                                 [this] { return body_->jobs.empty() && !body_->busy; });
}

}  // namespace snowglobe::detail
