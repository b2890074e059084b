// api/src/instance_boot.cc - builds the parts of an instance and brings them up, and what happens
// at their end.
#include "api/src/clusters.h"
#include "api/src/disk_size.h"
#include "api/src/errors.h"
#include "api/src/instance_parts.h"
#include "guest/agent/protocol.h"
#include "vm/cpu/translator/options.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace snowglobe::detail {
namespace {

// What on_progress is told of: image, machine, agent, disks, PostgreSQL.
constexpr int kSteps = 5;
constexpr int kStepsBeforeGuest = 2;

std::vector<std::string> setting_list(const std::map<std::string, std::string>& settings) {
  std::vector<std::string> list;
  for (const auto& [name, value] : settings) {
    list.push_back(name);
    list.back().append("=").append(value);
  }
  return list;
}

Executor named_executor(std::string_view name) {
  if (name.empty() || name == "automatic") return Executor::automatic;
  if (name == "translator") return Executor::translator;
  if (name == "interpreter") return Executor::interpreter;
  throw InvalidArgument("SNOWGLOBE_EXECUTOR is neither automatic nor translator nor interpreter");
}

vm::Executor executor_of(Executor executor) {
  switch (executor) {
    case Executor::automatic:
      return vm::Executor::kAutomatic;
    case Executor::translator:
      return vm::Executor::kTranslator;
    case Executor::interpreter:
      return vm::Executor::kInterpreter;
  }
  throw InvalidArgument("Options::executor is none of the three");
}

std::shared_ptr<ReadOnlyDisk> open_root_disk(const ImageFile& root) {
  if (root.embedded.data() != nullptr) return std::make_shared<EmbeddedDisk>(root.embedded);
  return value_or_throw(FileDisk::open(root.path));
}

std::string how_it_ended(vm::MachineEnd end) {
  switch (end) {
    case vm::MachineEnd::kReset:
      return "the guest crashed: it reset itself";
    case vm::MachineEnd::kShutDown:
      return "the guest crashed: it switched itself off";
    case vm::MachineEnd::kStopped:
      return "the machine was stopped";
    case vm::MachineEnd::kDamaged:
      return "the stored state that the machine started from is damaged";
  }
  return "the machine ended";
}

}  // namespace

void Instance::Parts::tell(LogSource source, LogLevel level, const std::string& text) {
  if (!options.on_log) return;
  const std::lock_guard lock(tell_mutex_);
  if (muted_) return;
  try {
    options.on_log({source, level, text});
  } catch (...) {
    muted_ = true;  // an exception must not end the machine's thread
  }
}

void Instance::Parts::report(int done, const std::string& text) const {
  if (options.on_progress) options.on_progress({std::min(done, kSteps), kSteps, text});
}

void Instance::Parts::choose_executor() {
  if (const char* const name = std::getenv("SNOWGLOBE_EXECUTOR");  // NOLINT(concurrency-mt-unsafe)
      name != nullptr && options.executor == Executor::automatic) {
    options.executor = named_executor(name);
    executor_from_environment = options.executor != Executor::automatic;
  }
}

void Instance::Parts::choose_mac() {
  random.fill(mac);
  // Locally administered (IEEE 802), ours, and with that bit never our end's of the cable.
  mac[0] = 0x02;
  mac[1] = 0x53;
  mac[2] |= 0x80;
}

void Instance::Parts::load_image() {
  choose_executor();
  image = value_or_throw(find_image(image_places(options.image)));
  if (options.memory_mb == 0) options.memory_mb = image.memory_default;
  if (options.memory_mb < image.memory_minimum || options.memory_mb > image.memory_maximum) {
    throw InvalidArgument("Options::memory_mb is " + std::to_string(options.memory_mb) +
                          "; the guest of this image needs " +
                          std::to_string(image.memory_minimum) + " and takes at most " +
                          std::to_string(image.memory_maximum));
  }
  if (options.memory_mb % 4 != 0) {
    throw InvalidArgument("Options::memory_mb is " + std::to_string(options.memory_mb) +
                          "; it must be a multiple of 4");
  }
  if (auto limit = check_disk_limit(options.disk_limit_mb); !limit) throw_error(limit.error());
  if (auto verified = verify_image(image); !verified) throw_error(verified.error());
  report(1, "image found in " + image.files.place());
}

void Instance::Parts::build_agent() {
  AgentEvents events;
  events.hello = [this](const std::string& version) {
    progress.step("guest image " + version + " has booted its kernel");
  };
  events.progress = [this](std::string step) { progress.step(std::move(step)); };
  events.postgres_ready = [this] {
    progress.step("PostgreSQL accepts connections");
    progress.ready();
  };
  events.postgres_exited = [this](int status) {
    progress.failed("PostgreSQL ended by itself, wait status " + std::to_string(status));
    asio::post(loop.context(), [this] { shut_network(); });
  };
  events.boot_failed = [this](const std::string& why) {
    progress.failed("the guest could not be brought up: " + why);
  };
  events.log = [this](bool postgres, const std::string& line) {
    console.add(line);
    tell(postgres ? LogSource::postgres : LogSource::guest, LogLevel::info, line);
  };
  agent = std::make_unique<AgentClient>(loop.context(), std::move(events));
}

void Instance::Parts::build_network() {
  net::NetworkConfig config;
  config.loop = &loop.context();
  config.clock = &clock;
  config.random = &random;
  config.log = [this](const base::LogLine& line) {
    tell(LogSource::network, static_cast<LogLevel>(line.level), line.text);
  };
  config.on_stream_closed = [this](const net::StreamInfo& stream) {
    if (clients) clients->stream_closed(stream.id);
  };
  network = value_or_throw(net::Network::create(config));
  clients = std::make_unique<PipeClients>(*network);
  net::PipeListener::Options door;
  door.on_client = [this](PipeClients::Socket client) { clients->on_client(std::move(client)); };
  pipe = value_or_throw(net::PipeListener::create(*network, door));
  clients->set_target(pipe->target());
}

void Instance::Parts::find_code_cache(const std::string& how) {
  // What was hibernated or saved comes from the ready state mostly; where it does not, its pages
  // have other bytes, and nothing is taken.
  const bool bare_state = how == "recovered";
  keeps_code = how == "warm" || bare_state;
  code_cache.emplace(image.id, bare_state ? StateKind::bare : StateKind::ready);
}

void Instance::Parts::build_machine(const vm::TranslatorOptions* translator,
                                    const MachinePicture* from) {
  if (!root_disk) root_disk = open_root_disk(image.root);
  std::vector<std::uint8_t> kernel;
  vm::MachineConfig config;
  config.command_line = image.command_line;
  if (from != nullptr) {
    if (!data_disk) data_disk = std::make_unique<OverlayDisk>(from->disk, 0);
    config.start_from = &from->machine;
  } else {
    if (!data_disk) {
      data_disk = std::make_unique<OverlayDisk>(value_or_throw(cluster_disk(image)), 0);
    }
    kernel = value_or_throw(read_image_file(image.kernel));
  }
  if (auto grown = data_disk->grow(disk_capacity(disk_limit())); !grown) {
    throw_error(grown.error());
  }
  set_backstop();
  config.memory_bytes = vm::u64{options.memory_mb} << 20;
  config.kernel = kernel;
  if (!options.settings.empty()) config.command_line += " snowglobe.postgres=manual";
  if (disk_limit() != 0) {
    config.command_line += " snowglobe.disk_limit=" + std::to_string(disk_limit());
  }
  config.disks = {{root_disk.get(), "snowglobe-root"}, {data_disk.get(), "snowglobe-data"}};
  config.mac = mac;
  config.network = network.get();
  config.ports = {{SNOWGLOBE_PORT_NAME, agent.get()}};
  config.clock = &clock;
  config.random = &random;
  config.loop = &loop;
  config.executor = executor_of(options.executor);
  vm::TranslatorOptions own;
  if (keeps_code) {
    own.keep_bytes = CodeCache::kMostCode;
    own.on_code = [cache = *code_cache](auto code) { cache.store(std::move(code)); };
  }
  config.translator = translator != nullptr ? translator : &own;
  config.log = [this](const base::LogLine& line) {
    tell(LogSource::machine, static_cast<LogLevel>(line.level), line.text);
  };
  config.serial_output = [this](base::ConstBytes bytes) { on_serial(bytes); };
  machine = value_or_throw(vm::Machine::create(config));
  network->attach(machine->network());
  agent->attach(*machine, 0);
  report(kStepsBeforeGuest, "machine built");
}

void Instance::Parts::set_backstop() {
  auto* const disk = dynamic_cast<OverlayDisk*>(data_disk.get());
  if (disk != nullptr) disk->set_limit(disk_backstop(disk_limit(), disk->content_bytes()));
}

base::Result<void> Instance::Parts::grow_disk(vm::u64 capacity) {
  if (capacity <= data_disk->capacity()) return {};
  if (auto grown = data_disk->grow(capacity); !grown) return grown;
  machine->disks_grew();
  return {};
}

void Instance::Parts::on_serial(base::ConstBytes bytes) {
  const std::string_view text(static_cast<const char*>(static_cast<const void*>(bytes.data())),
                              bytes.size());
  serial_lines.feed(text, [this](const std::string& line) {
    console.add(line);
    tell(LogSource::kernel, LogLevel::info, line);
  });
}

void Instance::Parts::on_end(vm::MachineEnd end) {
  if (!serial_lines.partial().empty()) console.add(serial_lines.partial());
  // The reason first: who loses a connection now asks for it.
  progress.ended(how_it_ended(end));
  const bool closed = progress.state() == Progression::State::closed;
  agent->end(
      {closed ? base::ErrorCode::kUnavailable : base::ErrorCode::kGuestCrashed, progress.reason()});
  shut_network();
}

void Instance::Parts::shut_network() {
  clients->close();
  network->shutdown();
}

void Instance::Parts::run() {
  if (auto runs = machine->start([this](vm::MachineEnd end) { on_end(end); }); !runs) {
    throw_error(runs.error());
  }
}

void Instance::Parts::go_on_with_agent(const Deadline& deadline) {
  if (bare) {
    const auto mounted = agent->mount_data(data_disk->capacity(), disk_limit(), deadline);
    if (!mounted) return progress.failed(mounted.error().message);
  } else {
    (void)agent->set_clock(clock.wall(), deadline);
    if (options.settings.empty()) return;
  }
  const auto running = agent->start_postgres(setting_list(options.settings), deadline);
  if (!running) progress.failed(running.error().message);
}

void Instance::Parts::wait_until_ready() {
  const Deadline deadline(options.boot_limit);
  const std::stop_callback on_stop(options.stop, [this] {
    agent->end({base::ErrorCode::kCancelled, "the open was cancelled"});
    progress.wake();
  });
  int done = kStepsBeforeGuest;
  for (;;) {
    if (options.stop.stop_requested()) throw Cancelled("the open was cancelled by Options::stop");
    std::optional<std::string> step;
    if (!progress.wait_news(deadline, step)) boot_timed_out();
    if (step) {
      report(++done, *step);
      if (done != kStepsBeforeGuest + 1) continue;
      go_on_with_agent(deadline);
      continue;
    }
    const Progression::State state = progress.state();
    if (state == Progression::State::ready) return;
    if (state != Progression::State::booting) {
      throw GuestCrashed(progress.reason(), console.lines());
    }
  }
}

void Instance::Parts::boot_timed_out() {
  std::string text = "the guest was not ready after Options::boot_limit = " +
                     std::to_string(options.boot_limit.count()) + " ms; it had done " +
                     std::to_string(progress.steps()) + " steps. Its last console lines:";
  const std::vector<std::string> lines = console.lines();
  constexpr std::size_t kShown = 12;
  for (std::size_t i = lines.size() - std::min(lines.size(), kShown); i < lines.size(); ++i) {
    text += "\n  " + lines[i];
  }
  throw TimeoutError(text);
}

void Instance::Parts::stop() noexcept {
  progress.closed();
  const std::lock_guard lock(stop_mutex);
  if (!machine) return;
  machine->stop();
  if (!std::exchange(keeps_code, false)) return;
  if (auto code = machine->new_code()) code_cache->store(std::move(code));
}

}  // namespace snowglobe::detail
