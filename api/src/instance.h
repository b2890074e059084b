// api/src/instance.h - a booted machine with PostgreSQL in it: composes image, disks, machine,
// network and agent.
#pragma once

#include "api/src/server.h"

#include <functional>
#include <memory>
#include <sys/types.h>

namespace snowglobe::vm {
class MachineCore;
struct TranslatorOptions;
}  // namespace snowglobe::vm

namespace snowglobe::detail {

class DataDisk;

/// Thread rule: any thread, but never the machine's own. In a forked child the destructor does
/// nothing.
class Instance final : public Server {
 public:
  /// Finds the image, builds the machine, and returns when PostgreSQL accepts connections.
  /// Throws as Database::open_in_memory.
  static std::shared_ptr<Instance> boot(const Options& options) { return boot(options, nullptr); }
  /// `translator`: set up in another way, for tests and developers' tools; not owned. `disk`: the
  /// data disk; null: the image's cluster, in memory.
  static std::shared_ptr<Instance> boot(const Options& options,
                                        const vm::TranslatorOptions* translator,
                                        std::unique_ptr<DataDisk> disk = nullptr);
  /// A machine that goes on from a picture; its first requests wait until the guest knows what time
  /// it is. `how` goes into Info::started.
  /// `like`: a machine whose translated code may be taken over; null: none. `disk`: with the
  /// picture's contents; null: the picture's, in memory.
  static std::shared_ptr<Instance> start_from(const Options& options, const MachinePicture& picture,
                                              const std::string& how, Instance* like = nullptr,
                                              std::unique_ptr<DataDisk> disk = nullptr);
  /// A machine of a *bare* picture, which knows of no data disk: it is given `disk`, and returns
  /// when PostgreSQL has recovered there. Throws as boot().
  static std::shared_ptr<Instance> start_bare(const Options& options, const MachinePicture& picture,
                                              std::unique_ptr<DataDisk> disk);
  /// Makes this machine bare: PostgreSQL ends, the data disk is unmounted. For a picture of it.
  /// Throws as exec().
  void make_bare();
  /// Keeps a picture as long as the machine: who opens another one finds it.
  void keep(std::shared_ptr<const MachinePicture> picture);
  ~Instance() override;
  /// For info(). Before anybody else has it.
  void set_why_cold(const std::string& why);

  [[nodiscard]] ServerAddress address() const override;
  void check(std::chrono::milliseconds grace) override;
  void log(const LogLine& line) override;
  void close() noexcept override;
  [[nodiscard]] bool is_open() const noexcept override;

  [[nodiscard]] Info info() const override;
  [[nodiscard]] Stats stats() const override;
  [[nodiscard]] std::vector<std::string> console() const override;

  ExecResult exec(const std::vector<std::string>& arguments, const ExecOptions& options) override;
  void put(std::string_view path, std::string_view contents, unsigned mode) override;
  std::string get(std::string_view path) override;

  std::uint16_t listen(const std::string& address, std::uint16_t port) override;
  void unlisten(const std::string& address, std::uint16_t port) override;
  bool cancel_statement(int backend_pid, std::chrono::milliseconds limit) noexcept override;

  std::shared_ptr<const MachinePicture> capture() override;
  void restore(const std::shared_ptr<const MachinePicture>& picture) override;
  std::shared_ptr<Server> fork(const std::shared_ptr<const MachinePicture>& picture,
                               const Options& options) override;
  void set_disk_limit(unsigned megabytes) override;
  void quiesce() override;

  /// As capture(), for the last time: the guest executes nothing after that moment, and only
  /// close() may follow. Who had a session is not in it, but for idle ones of the pool. The picture
  /// has no disk: what the guest wrote has been handed over to it.
  std::shared_ptr<const MachinePicture> freeze();
  /// Has the guest write back what its kernel holds, and give up a page cache that is large. Throws
  /// as exec().
  void settle();
  /// Has PostgreSQL shut down and the guest unmount, or throws as exec() and it does not.
  void shut_down(std::chrono::milliseconds patience);

  /// Has `look` called on the machine's thread, between two slices, and waits; for developers'
  /// tools. Throws as get() does.
  void inspect(const std::function<void(vm::MachineCore&)>& look);

 private:
  struct Parts;

  Instance();
  /// All of start_from() but the start.
  static std::shared_ptr<Instance> build_from(const Options& options, const MachinePicture& picture,
                                              const std::string& how, Instance* like,
                                              std::unique_ptr<DataDisk> disk);
  /// Runs `work` on the machine's thread, where the network lives, and returns what it returns.
  /// Throws ConnectionLost, GuestCrashed, TimeoutError; in these cases it did not run.
  template <class T>
  T on_machine_thread(std::function<T()> work);
  /// Returns when the guest has taken note of its last restore. Throws as on_machine_thread().
  void wait_until_awake();

  const pid_t owner_;
  std::unique_ptr<Parts> parts_;
};

}  // namespace snowglobe::detail
