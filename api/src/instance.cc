// api/src/instance.cc - a booted machine as a Server, and the face's open_in_memory().
#include "api/src/instance.h"

#include "api/src/database_state.h"
#include "api/src/errors.h"
#include "api/src/instance_parts.h"
#include "api/src/option_checks.h"
#include "guest/agent/protocol.h"
#include <snowglobe/version.hpp>

#include <array>
#include <unistd.h>

namespace snowglobe {
inline namespace v1 {
namespace detail {
namespace {

// For put() and get(); megabytes a second are moved.
constexpr std::chrono::milliseconds kFileLimit = std::chrono::minutes(2);
constexpr std::uint16_t kPostgresPort = 5432;  // of sockets in a folder, unless another is named
constexpr std::chrono::milliseconds kStatisticsLimit = std::chrono::seconds(1);

TranslatorStats translator_stats(const vm::MachineStatistics& machine) {
  TranslatorStats stats;
  stats.blocks = machine.blocks_translated;
  stats.code_bytes = machine.code_bytes;
  stats.code_flushes = machine.code_flushes;
  stats.handled = machine.exits_insn;
  stats.interpreted_blocks = machine.interpreted_blocks;
  stats.interpreted_steps = machine.interpreted_steps;
  stats.faults = machine.faults;
  stats.page_faults = machine.guest_faults;
  stats.emulated_accesses = machine.emulated_accesses;
  stats.mappings = machine.mappings;
  stats.window_fills = machine.window_fills;
  stats.window_drops = machine.window_drops;
  stats.window_evictions = machine.window_evictions;
  return stats;
}

}  // namespace

Instance::Instance() : owner_(getpid()) {}

std::shared_ptr<Instance> Instance::boot(const Options& options,
                                         const vm::TranslatorOptions* translator,
                                         std::unique_ptr<DataDisk> disk) {
  const auto start = std::chrono::steady_clock::now();
  std::shared_ptr<Instance> instance(new Instance);
  instance->parts_ = std::make_unique<Parts>(options);
  Parts& parts = *instance->parts_;
  parts.data_disk = std::move(disk);
  parts.load_image();
  parts.build_agent();
  parts.build_network();
  parts.build_machine(translator, nullptr);
  parts.run();
  parts.wait_until_ready();
  if (options.frozen_time) {
    std::array<std::uint8_t, SNOWGLOBE_RESUME_ENTROPY> entropy;
    parts.random.fill(entropy);
    const auto told = parts.agent->resume(parts.resumption(entropy), Deadline(options.boot_limit));
    if (!told) throw_error(told.error(), instance->console());
  }
  parts.boot_time = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - start);
  return instance;
}

Instance::~Instance() {
  if (owner_ != getpid()) {
    static_cast<void>(
        parts_.release());  // a forked child's copy: threads and sockets are the parent's
    return;
  }
  close();
}

void Instance::set_why_cold(const std::string& why) {
  parts_->why_cold = why;
}

ServerAddress Instance::address() const {
  return {parts_->pipe->host(), std::to_string(parts_->pipe->port()),
          parts_->options.read_only ? "-c default_transaction_read_only=on" : ""};
}

void Instance::check(std::chrono::milliseconds grace) {
  using State = Progression::State;
  State state = parts_->progress.state();
  if (state == State::ready && grace.count() > 0) {
    state = parts_->progress.wait_while(State::ready, Deadline(grace));
  }
  if (state == State::closed) throw ConnectionLost(parts_->progress.reason());
  if (state == State::failed || state == State::ended) {
    throw GuestCrashed(parts_->progress.reason(), parts_->console.lines());
  }
}

void Instance::log(const LogLine& line) {
  parts_->tell(line.source, line.level, line.text);
}

void Instance::close() noexcept {
  if (parts_) parts_->stop();
}

bool Instance::is_open() const noexcept {
  return parts_->progress.state() == Progression::State::ready;
}

Info Instance::info() const {
  const GuestImage& image = parts_->image;
  const auto version = [&image](const char* name) {
    const auto found = image.versions.find(name);
    return found == image.versions.end() ? std::string() : found->second;
  };
  Info info;
  info.library_version = library_version();
  info.postgres_version = version("postgresql");
  info.kernel_version = version("linux");
  info.image_id = image.id;
  info.image = image.files.folder;
  info.image_bytes = image.kernel.bytes + image.root.bytes + image.cluster.bytes;
  info.memory_mb = parts_->options.memory_mb;
  const vm::MachineStatistics machine = parts_->machine->statistics();
  info.executor = machine.translated ? "translator" : "interpreter";
  info.why_interpreted = machine.why_interpreted;
  if (!machine.translated && parts_->executor_from_environment) {
    info.why_interpreted = "SNOWGLOBE_EXECUTOR asks for the interpreter";
  }
  info.boot_time = parts_->boot_time;
  info.started = parts_->started;
  info.why_cold = parts_->why_cold;
  return info;
}

Stats Instance::stats() const {
  const vm::MachineStatistics machine = parts_->machine->statistics();
  Stats stats;
  stats.instructions = machine.instructions;
  stats.blocks_decoded = machine.blocks_decoded;
  stats.interrupts = machine.interrupts;
  stats.idle = std::chrono::nanoseconds(machine.idle_nanoseconds);
  stats.disk_bytes = parts_->data_disk->own_bytes();
  stats.image_bytes_read = parts_->root_disk->touched_bytes();
  stats.translator = translator_stats(machine);
  if (!is_open()) return stats;
  // The table of streams belongs to the machine's thread.
  const auto answer = std::make_shared<std::promise<std::size_t>>();
  std::future<std::size_t> count = answer->get_future();
  asio::post(parts_->loop.context(),
             [this, answer] { answer->set_value(parts_->network->streams().size()); });
  if (count.wait_for(kStatisticsLimit) == std::future_status::ready) {
    stats.sessions = static_cast<unsigned>(count.get());
  }
  return stats;
}

std::vector<std::string> Instance::console() const {
  return parts_->console.lines();
}

ExecResult Instance::exec(const std::vector<std::string>& arguments, const ExecOptions& options) {
  auto result = parts_->agent->exec(arguments, options);
  if (!result) throw_error(result.error(), console());
  return std::move(result).value();
}

void Instance::put(std::string_view path, std::string_view contents, unsigned mode) {
  if (auto done = parts_->agent->put(path, contents, mode, Deadline(kFileLimit)); !done) {
    throw_error(done.error(), console());
  }
}

std::string Instance::get(std::string_view path) {
  auto contents = parts_->agent->get(path, Deadline(kFileLimit));
  if (!contents) throw_error(contents.error(), console());
  return std::move(contents).value();
}

std::uint16_t Instance::listen(const std::string& address, std::uint16_t port) {
  using Outcome = base::Result<std::uint16_t>;
  const Outcome outcome = on_machine_thread<Outcome>([address, port, this]() -> Outcome {
    Parts::Exposed exposed{address, port, nullptr};
    if (address.starts_with('/')) {
      if (port == 0) exposed.port = kPostgresPort;
      auto listener = net::FolderListener::create(*parts_->network, {address, exposed.port});
      if (!listener) return listener.error();
      exposed.listener = std::move(listener).value();
    } else {
      auto listener = net::LoopbackListener::create(*parts_->network, {address, port});
      if (!listener) return listener.error();
      exposed.port = listener.value()->port();
      exposed.listener = std::move(listener).value();
    }
    parts_->exposed.push_back(std::move(exposed));
    return parts_->exposed.back().port;
  });
  if (!outcome) throw_listen_error(outcome.error());
  return outcome.value();
}

void Instance::unlisten(const std::string& address, std::uint16_t port) {
  on_machine_thread<bool>([address, port, this] {
    std::erase_if(parts_->exposed, [&](const Parts::Exposed& exposed) {
      return address.empty() || (exposed.address == address && exposed.port == port);
    });
    return true;
  });
}

bool Instance::cancel_statement(int backend_pid, std::chrono::milliseconds limit) noexcept {
  // The session may be over, or the machine: there is nothing to cancel then.
  static_cast<void>(
      parts_->agent->cancel_statement(static_cast<std::uint32_t>(backend_pid), Deadline(limit)));
  return true;
}

void Instance::inspect(const std::function<void(vm::MachineCore&)>& look) {
  on_machine_thread<bool>([this, look] {
    look(*parts_->machine->core());
    return true;
  });
}

}  // namespace detail

Database Database::open_in_memory(const Options& options) {
  detail::require_possible(options);
  return Database(detail::DatabaseState::open(options));
}

Database Database::open(const std::filesystem::path& path, const Options& options) {
  detail::require_possible(options);
  return Database(detail::DatabaseState::open(path, options));
}

}  // namespace v1
}  // namespace snowglobe
