// api/src/instance_snapshot.cc - a machine's picture: taken, put back, and made into another
// machine. Which sessions go on is decided here (docs/api.md, "Sessions and restore").
#include "api/src/connection.h"
#include "api/src/disk_size.h"
#include "api/src/errors.h"
#include "api/src/instance_parts.h"
#include "guest/agent/protocol.h"

#include <algorithm>
#include <array>
#include <unistd.h>

namespace snowglobe::detail {
namespace {

// A guest answers within a millisecond; on the interpreter beside a busy host it takes longer.
constexpr std::chrono::seconds kResumeLimit{10};
constexpr std::chrono::milliseconds kQuiesceLimit = std::chrono::minutes(1);
// Beyond what PostgreSQL is given: for writing back and unmounting.
constexpr std::chrono::milliseconds kShutDownLimit = std::chrono::seconds(30);

base::ConstBytes bytes_of(const std::string& text) {
  return {static_cast<const std::uint8_t*>(static_cast<const void*>(text.data())), text.size()};
}

}  // namespace

/// Who goes on in a restored machine, and who does not.
struct Instance::Parts::Fates {
  struct Kept {
    Connection* connection;
    const SessionPicture* back;
    net::StreamId stream;
  };

  net::RestorePlan plan;
  std::vector<Kept> kept;
  std::vector<Connection*> ended;
  std::vector<SessionPicture> waiting;
};

base::Result<std::shared_ptr<const MachinePicture>> Instance::Parts::capture(
    const SessionRegistry::Hold& hold) {
  auto picture = std::make_shared<MachinePicture>();
  for (Connection* connection : hold.connections()) {
    const PipeClients::Own* const own = clients->find(connection->token());
    if (own == nullptr || !connection->settle()) continue;
    const auto stream = network->stream(own->stream);
    if (!stream || !stream->quiet) continue;
    SessionPicture& session = picture->sessions.emplace_back(connection->picture());
    session.stream = own->stream;
    session.startup = own->startup;
  }
  // Nobody has come for them yet; in a fork somebody may.
  const std::vector<SessionPicture> waiting = clients->waiting();
  picture->sessions.insert(picture->sessions.end(), waiting.begin(), waiting.end());
  auto captured = machine->capture();
  if (!captured) return captured.error();
  picture->machine = std::move(captured).value();
  auto disk = data_disk->capture();
  if (!disk) return disk.error();
  picture->disk = std::move(disk).value();
  picture->network = network->save();
  picture->agent = agent->save();
  picture->image_id = image.id;
  picture->memory_bytes = vm::u64{options.memory_mb} << 20;
  return std::shared_ptr<const MachinePicture>(std::move(picture));
}

Instance::Parts::Fates Instance::Parts::decide(const MachinePicture& picture,
                                               const SessionRegistry::Hold& hold) {
  Fates fates;
  fates.plan.guest_mac = net::MacAddress::load(mac.data());
  const std::string mark = std::to_string(++marks_);
  const std::string message = parameter_status(Connection::kMark, mark);
  std::map<net::StreamId, const SessionPicture*> saved;
  for (const SessionPicture& session : picture.sessions)
    saved[session.stream] = &session;
  for (Connection* connection : hold.connections()) {
    const PipeClients::Own* const own = clients->find(connection->token());
    const auto back = own != nullptr ? saved.find(own->stream) : saved.end();
    const auto goes_on = [&] {
      if (back == saved.end() || !connection->settle()) return false;
      const auto stream = network->stream(own->stream);
      if (!stream || !stream->quiet) return false;
      // The client's parser must stand between two messages, or what comes next is read as the
      // rest of one that was undone. It cannot be asked, but it can be given something to read.
      return network->inject_to_client(own->stream, bytes_of(message)) &&
             connection->reads_mark(mark);
    };
    if (goes_on()) {
      fates.kept.push_back({connection, back->second, own->stream});
      fates.plan.keep.push_back(own->stream);
      saved.erase(back);
    } else {
      fates.ended.push_back(connection);
    }
  }
  for (const auto& [stream, session] : saved) {
    if (session->adoption == Adoption::nobody) continue;
    fates.plan.wait.push_back(stream);
    fates.waiting.push_back(*session);
  }
  const std::string words = last_words();
  const base::ConstBytes bytes = bytes_of(words);
  for (const net::StreamInfo& stream : network->streams()) {
    const auto& keep = fates.plan.keep;
    if (std::find(keep.begin(), keep.end(), stream.id) != keep.end()) continue;
    fates.plan.last_words[stream.id].assign(bytes.begin(), bytes.end());
  }
  return fates;
}

base::Result<void> Instance::Parts::check(const MachinePicture& picture,
                                          const net::RestorePlan& plan) const {
  return network->check_restore(picture.network, plan);
}

base::Result<void> Instance::Parts::restore(const MachinePicture& picture,
                                            const SessionRegistry::Hold& hold) {
  Fates fates = decide(picture, hold);
  if (auto possible = check(picture, fates.plan); !possible) return possible;
  if (auto grown = grow_disk(picture.disk->capacity()); !grown) return grown;
  if (auto prepared = data_disk->prepare_restore(picture.disk); !prepared) return prepared;
  // Everything but this has been checked, and it changes nothing if it fails.
  if (auto restored = machine->restore(picture.machine); !restored) {
    data_disk->cancel_restore();
    return restored;
  }
  // Whoever finds his stream closed asks whether he is stale.
  for (Connection* connection : fates.ended)
    connection->make_stale();
  ++resumptions_;  // what the undone guest owes us counts no more
  base::Result<void> rest = data_disk->commit_restore();
  set_backstop();
  if (rest) rest = network->restore(picture.network, fates.plan);
  if (rest) rest = agent->restore(bytes_of(picture.agent));
  if (!rest) {
    does_not_awake("the restored machine does not fit its surroundings: " + rest.error().message);
    return rest;
  }
  clients->set_waiting(std::move(fates.waiting));
  for (const Fates::Kept& kept : fates.kept) {
    const std::string messages = kept.connection->parameter_messages(*kept.back);
    if (!messages.empty()) network->inject_to_client(kept.stream, bytes_of(messages));
    kept.connection->put_back(*kept.back);
  }
  begin_resume();
  return {};
}

base::Result<void> Instance::Parts::take_up(const MachinePicture& picture) {
  Fates fates;
  fates.plan.guest_mac = net::MacAddress::load(mac.data());
  for (const SessionPicture& session : picture.sessions) {
    if (session.adoption == Adoption::nobody) continue;
    fates.plan.wait.push_back(session.stream);
    fates.waiting.push_back(session);
  }
  if (auto done = network->restore(picture.network, fates.plan); !done) return done;
  if (auto done = agent->restore(bytes_of(picture.agent)); !done) return done;
  clients->set_waiting(std::move(fates.waiting));
  begin_resume();
  return {};
}

// --- the guest is told

Resumption Instance::Parts::resumption(base::ConstBytes entropy) {
  Resumption told;
  told.clock = clock.wall();
  if (options.frozen_time) {
    told.clock =
        std::chrono::duration_cast<base::Nanoseconds>(options.frozen_time->time_since_epoch());
    told.fixed_now = told.clock;
  }
  // Cancel keys become others. Those of sessions that go on are not used: see cancel_statement().
  std::array<std::uint8_t, 4> secret;
  random.fill(secret);
  told.secret = base::load_le<std::uint32_t>(secret.data());
  told.disk_bytes = data_disk->capacity();
  told.disk_limit = disk_limit();
  told.mac = mac;
  told.entropy = entropy;
  return told;
}

void Instance::Parts::begin_resume() {
  resuming_ = true;
  network->hold(true);
  const std::uint64_t number = ++resumptions_;
  resume_timer_.expires_after(kResumeLimit);
  resume_timer_.async_wait([this, number](const std::error_code& error) {
    if (!error && number == resumptions_) does_not_awake("it did not answer in time");
  });
  std::array<std::uint8_t, SNOWGLOBE_RESUME_ENTROPY> entropy;
  random.fill(entropy);
  agent->begin_resume(resumption(entropy), [this, number](const base::Result<void>& done) {
    if (number != resumptions_) return;  // undone meanwhile
    if (done) {
      awake();
    } else {
      does_not_awake(done.error().message);
    }
  });
}

void Instance::Parts::awake() {
  resuming_ = false;
  resume_timer_.cancel();
  network->hold(false);
  for (const auto& then : std::exchange(when_awake_, {}))
    then();
}

void Instance::Parts::does_not_awake(const std::string& why) {
  ++resumptions_;
  resume_timer_.cancel();
  progress.failed("the restored guest does not go on: " + why);
  asio::post(loop.context(), [this] { shut_network(); });
}

void Instance::Parts::when_awake(std::function<void()> then) {
  if (!resuming_) return then();
  when_awake_.push_back(std::move(then));
}

// --- the face's side

void Instance::wait_until_awake() {
  const auto awake = std::make_shared<std::promise<void>>();
  std::future<void> told = awake->get_future();
  on_machine_thread<bool>([this, awake] {
    parts_->when_awake([awake] { awake->set_value(); });
    return true;
  });
  const Deadline deadline(kResumeLimit);
  while (told.wait_for(std::chrono::milliseconds(20)) != std::future_status::ready) {
    check({});
    if (deadline.passed()) throw TimeoutError("the guest did not come back from its last restore");
  }
}

std::shared_ptr<const MachinePicture> Instance::capture() {
  using Outcome = base::Result<std::shared_ptr<const MachinePicture>>;
  for (;;) {
    check({});
    // A guest that is about to learn what time it is would learn it again from the snapshot.
    wait_until_awake();
    const SessionRegistry::Hold hold(sessions());
    const auto outcome =
        on_machine_thread<std::optional<Outcome>>([this, &hold]() -> std::optional<Outcome> {
          if (parts_->resuming()) return std::nullopt;
          return parts_->capture(hold);
        });
    if (!outcome) continue;
    if (!outcome->ok()) throw_capture_error(outcome->error());
    return outcome->value();
  }
}

std::shared_ptr<const MachinePicture> Instance::freeze() {
  using Outcome = base::Result<std::shared_ptr<const MachinePicture>>;
  for (;;) {
    check({});
    wait_until_awake();
    const SessionRegistry::Hold hold(sessions());
    parts_->machine->pause();
    const auto outcome =
        on_machine_thread<std::optional<Outcome>>([this, &hold]() -> std::optional<Outcome> {
          if (parts_->resuming()) return std::nullopt;
          return parts_->capture(hold);
        });
    if (outcome && outcome->ok()) {
      auto picture = std::make_shared<MachinePicture>(*outcome->value());
      picture->disk.reset();  // its contents stay where they are
      return picture;
    }
    parts_->machine->resume();
    if (outcome) throw_capture_error(outcome->error());
  }
}

void Instance::restore(const std::shared_ptr<const MachinePicture>& picture) {
  check({});
  if (picture->image_id != parts_->image.id) {
    throw SnapshotIncompatible("the snapshot was made with guest image " + picture->image_id +
                               ", and this database runs " + parts_->image.id);
  }
  if (picture->memory_bytes != vm::u64{parts_->options.memory_mb} << 20) {
    throw SnapshotIncompatible("the snapshot has " + std::to_string(picture->memory_bytes >> 20) +
                               " MiB of memory, and this database " +
                               std::to_string(parts_->options.memory_mb));
  }
  const SessionRegistry::Hold hold(sessions());
  const auto outcome = on_machine_thread<base::Result<void>>(
      [this, &hold, picture] { return parts_->restore(*picture, hold); });
  if (!outcome) {
    check({});
    throw_capture_error(outcome.error());
  }
}

std::shared_ptr<Server> Instance::fork(const std::shared_ptr<const MachinePicture>& picture,
                                       const Options& options) {
  return start_from(options, *picture, "fork", this);
}

void Instance::keep(std::shared_ptr<const MachinePicture> picture) {
  parts_->ready = std::move(picture);
}

void Instance::quiesce() {
  constexpr std::uint32_t kAll =
      SNOWGLOBE_QUIESCE_SYNC | SNOWGLOBE_QUIESCE_DROP_CACHES | SNOWGLOBE_QUIESCE_SCRUB;
  if (auto done = parts_->agent->quiesce(kAll, Deadline(kQuiesceLimit)); !done) {
    throw_error(done.error(), console());
  }
}

void Instance::set_disk_limit(unsigned megabytes) {
  if (auto possible = check_disk_limit(megabytes); !possible) throw_error(possible.error());
  check({});
  wait_until_awake();
  const auto bytes = on_machine_thread<base::Result<vm::u64>>([this, megabytes] {
    const auto grown = parts_->grow_disk(disk_capacity(vm::u64{megabytes} << 20));
    if (!grown) return base::Result<vm::u64>(grown.error());
    parts_->options.disk_limit_mb = megabytes;
    parts_->set_backstop();
    return base::Result<vm::u64>(parts_->data_disk->capacity());
  });
  if (!bytes) throw_error(bytes.error());
  const auto size =
      parts_->agent->disk_limit(bytes.value(), vm::u64{megabytes} << 20, Deadline(kQuiesceLimit));
  if (!size) throw_error(size.error(), console());
}

void Instance::settle() {
  constexpr std::uint32_t kHow = SNOWGLOBE_QUIESCE_SYNC | SNOWGLOBE_QUIESCE_TRIM;
  if (auto done = parts_->agent->quiesce(kHow, Deadline(kQuiesceLimit)); !done) {
    throw_error(done.error(), console());
  }
}

void Instance::shut_down(std::chrono::milliseconds patience) {
  // The answer is the guest's last word, or its reset is.
  parts_->progress.closed();
  const auto done = parts_->agent->shut_down(patience, Deadline(patience + kShutDownLimit));
  if (!done && done.error().code != base::ErrorCode::kUnavailable) {
    throw_error(done.error(), console());
  }
}

std::shared_ptr<Instance> Instance::build_from(const Options& options,
                                               const MachinePicture& picture,
                                               const std::string& how, Instance* like,
                                               std::unique_ptr<DataDisk> disk) {
  std::shared_ptr<Instance> instance(new Instance);
  instance->parts_ = std::make_unique<Parts>(options);
  Parts& parts = *instance->parts_;
  parts.data_disk = std::move(disk);
  parts.options.memory_mb = static_cast<unsigned>(picture.memory_bytes >> 20);
  parts.started = how;
  if (like != nullptr) {
    // Its files may have been replaced meanwhile; what is open stays what it was.
    parts.image = like->parts_->image;
    parts.root_disk = like->parts_->root_disk;
    parts.choose_executor();
  } else {
    parts.load_image();
  }
  if (picture.image_id != parts.image.id) {
    throw SnapshotIncompatible("the snapshot was made with guest image " + picture.image_id +
                               "; the one in " + parts.image.files.place() + " is " +
                               parts.image.id);
  }
  if (how != "warm" && how != "recovered") parts.choose_mac();
  parts.build_agent();
  parts.build_network();
  if (like == nullptr) parts.find_code_cache(how);
  parts.build_machine(nullptr, &picture);
  if (auto done = parts.take_up(picture); !done) throw_capture_error(done.error());
  if (like != nullptr) {
    parts.machine->learn_from(like->on_machine_thread<std::shared_ptr<const vm::CodeImage>>(
        [like] { return like->parts_->machine->code(); }));
  } else {
    parts.machine->learn_from(parts.code_cache->load());
  }
  return instance;
}

std::shared_ptr<Instance> Instance::start_from(const Options& options,
                                               const MachinePicture& picture,
                                               const std::string& how, Instance* like,
                                               std::unique_ptr<DataDisk> disk) {
  const auto start = std::chrono::steady_clock::now();
  std::shared_ptr<Instance> instance = build_from(options, picture, how, like, std::move(disk));
  Parts& parts = *instance->parts_;
  parts.progress.ready();
  parts.run();
  parts.boot_time = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - start);
  return instance;
}

std::shared_ptr<Instance> Instance::start_bare(const Options& options,
                                               const MachinePicture& picture,
                                               std::unique_ptr<DataDisk> disk) {
  const auto start = std::chrono::steady_clock::now();
  std::shared_ptr<Instance> instance =
      build_from(options, picture, "recovered", nullptr, std::move(disk));
  Parts& parts = *instance->parts_;
  parts.bare = true;
  parts.when_awake([&parts] { parts.progress.step("the machine is awake"); });
  parts.run();
  parts.wait_until_ready();
  parts.boot_time = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - start);
  return instance;
}

void Instance::make_bare() {
  constexpr std::uint32_t kFast = 1;  // SNOWGLOBE_STOP_POSTGRES
  const Deadline deadline(kQuiesceLimit);
  if (auto done = parts_->agent->stop_postgres(kFast, deadline); !done) {
    throw_error(done.error(), console());
  }
  if (auto done = parts_->agent->unmount_data(deadline); !done) {
    throw_error(done.error(), console());
  }
}

}  // namespace snowglobe::detail
