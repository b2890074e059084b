// tests/cpu/oracle/host_executor.cc - the harness's life, and the reading of its answers.
#include "tests/cpu/oracle/host_executor.h"

#include "vm/cpu/cpu.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace snowglobe::oracle {
namespace {

// A batch takes two or three milliseconds; but on a busy machine the harness may wait for its turn.
constexpr int kPatienceMilliseconds = 30'000;
constexpr u32 kFetchBit = 1u << 4;  // page-fault error code: needs NX, which i686 has not

base::Error host_error(const std::string& what) {
  return {base::ErrorCode::kUnsupported, what + ": " + std::strerror(errno)};
}

}  // namespace

base::Result<std::unique_ptr<HostExecutor>> HostExecutor::create(const std::string& harness_path) {
  std::unique_ptr<HostExecutor> executor(new HostExecutor);
  executor->harness_path_ = harness_path;
  executor->memory_file_ = ::memfd_create("oracle", MFD_CLOEXEC);
  if (executor->memory_file_ < 0) return host_error("memfd_create");
  if (::ftruncate(executor->memory_file_, sizeof(OracleShared)) != 0)
    return host_error("ftruncate");
  void* mapping = ::mmap(nullptr, sizeof(OracleShared), PROT_READ | PROT_WRITE, MAP_SHARED,
                         executor->memory_file_, 0);
  if (mapping == MAP_FAILED) return host_error("mmap of the shared memory");
  executor->shared_ = static_cast<OracleShared*>(mapping);
  auto spawned = executor->spawn();
  if (!spawned.ok()) return spawned.error();
  return executor;
}

HostExecutor::~HostExecutor() {
  end_process();
  if (shared_ != nullptr) ::munmap(shared_, sizeof(OracleShared));
  if (memory_file_ >= 0) ::close(memory_file_);
}

base::Result<void> HostExecutor::spawn() {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
    return host_error("socketpair");
  // Both are moved out of the way first, so that neither dup2 below hits the other's source.
  const int memory = ::fcntl(memory_file_, F_DUPFD_CLOEXEC, 16);
  const int command = ::fcntl(pair[1], F_DUPFD_CLOEXEC, 16);
  ::close(pair[1]);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, memory, ORACLE_FD_SHARED);
  ::posix_spawn_file_actions_adddup2(&actions, command, ORACLE_FD_COMMAND);
  char* const arguments[] = {harness_path_.data(), nullptr};
  char* const environment[] = {nullptr};
  const int failed =
      ::posix_spawn(&process_, harness_path_.c_str(), &actions, nullptr, arguments, environment);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(memory);
  ::close(command);
  command_ = pair[0];
  if (failed != 0) {
    process_ = -1;
    errno = failed;
    return host_error("this host does not run the 32-bit harness " + harness_path_);
  }
  if (!await_answer()) {
    return base::Error{base::ErrorCode::kUnsupported,
                       "the 32-bit harness " + harness_path_ + " does not start on this host"};
  }
  return {};
}

void HostExecutor::end_process() {
  if (command_ >= 0) ::close(command_);
  command_ = -1;
  if (process_ > 0) {
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }
  process_ = -1;
}

bool HostExecutor::await_answer() {
  for (;;) {
    const u32 before = shared_->progress;
    pollfd waiting{command_, POLLIN, 0};
    int ready = 0;
    do {
      ready = ::poll(&waiting, 1, kPatienceMilliseconds);
    } while (ready < 0 && errno == EINTR);
    char byte = 0;
    if (ready != 0) return ready == 1 && ::read(command_, &byte, 1) == 1;
    if (shared_->progress == before) return false;
  }
}

void HostExecutor::send_from(std::size_t first) {
  sent_.clear();
  for (std::size_t i = first; i < batch_.size(); ++i) {
    const Case& test = batch_[i];
    if (test.kind != CaseKind::kCompare) continue;
    OracleInput& input = shared_->input[sent_.size()];
    const bool uses_fx = (test.input.options & ORACLE_USES_FX) != 0;
    std::memcpy(&input, &test.input, uses_fx ? sizeof input : offsetof(OracleInput, fx));
    for (u32 w = 0; w < input.window_count; ++w) {
      const OracleWindow& window = input.windows[w];
      std::memcpy(input.memory + window.offset, test.input.memory + window.offset, window.size);
    }
    sent_.push_back(static_cast<u32>(i));
  }
  shared_->count = static_cast<u32>(sent_.size());
  shared_->progress = 0;
  const char byte = 'B';
  // When the harness is gone the write fails, and so does the read of the answer: handled there.
  [[maybe_unused]] const ssize_t written = ::send(command_, &byte, 1, MSG_NOSIGNAL);
}

void HostExecutor::start(std::span<const Case> batch) {
  batch_ = batch;
  lost_ = false;
  for (const Case& test : batch) {
    const std::span<u8> slot(shared_->code + (slot_address(test.index) - ORACLE_CODE), ORACLE_SLOT);
    write_slot(test, test.host_code, slot);
  }
  send_from(0);
}

void HostExecutor::finish(std::span<Outcome> outcomes) {
  for (;;) {
    const bool answered = await_answer();
    const std::size_t done = std::min<std::size_t>(shared_->progress, sent_.size());
    for (std::size_t i = 0; i < done; ++i) {
      collect(batch_[sent_[i]], shared_->output[i], outcomes[sent_[i]]);
    }
    if (answered) return;
    // The case in work took the harness down: say so, and go on behind it with a new one.
    lost_ = true;
    end_process();
    const std::size_t culprit = std::min(done, sent_.size() - 1);
    const std::size_t next = sent_[culprit] + 1;
    outcomes[sent_[culprit]].lost = true;
    SG_ASSERT(spawn().ok(), "the harness could be started before");
    send_from(next);
  }
}

void HostExecutor::collect(const Case& test, const OracleOutput& output, Outcome& outcome) const {
  const bool uses_fx = (test.input.options & ORACLE_USES_FX) != 0;
  OracleOutput& raw = outcome.raw;
  std::memcpy(&raw, &output, uses_fx ? sizeof raw : offsetof(OracleOutput, fx));
  for (u32 w = 0; w < test.input.window_count; ++w) {
    const OracleWindow& window = test.input.windows[w];
    std::memcpy(raw.memory + window.offset, output.memory + window.offset, window.size);
  }
  outcome.lost = false;
  raw.eflags &= ~vm::kFlagRf;  // what a fault pushes; not part of the instruction's result
  if (!outcome.trapped()) {
    raw.eip = test.input.eip + test.length;
    raw.error_code = raw.address = 0;
    return;
  }
  const auto trap = static_cast<vm::Vector>(raw.trap);
  if (trap == vm::Vector::kPageFault) {
    raw.error_code &= ~kFetchBit;
    // A branch whose target can not be fetched is a branch that was taken.
    if (raw.address == raw.eip && raw.eip != test.input.eip) raw.trap = ORACLE_NO_TRAP;
  } else if (trap == vm::Vector::kBreakpoint && !test.breakpoint) {
    raw.eip -= 1;
    raw.trap = ORACLE_NO_TRAP;
  }
  if (!outcome.trapped()) raw.error_code = raw.address = 0;
}

}  // namespace snowglobe::oracle
