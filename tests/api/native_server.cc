// tests/api/native_server.cc - starts a private cluster with initdb and postgres, and stops it at
// the end.
#include "tests/api/native_server.h"

#include "api/src/database_state.h"
#include "api/src/server.h"

#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <functional>
#include <memory>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace snowglobe::testing {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kNobody = 65534;

std::optional<fs::path> find_programs() {
  for (const char* version : {"17", "16", "15", "14"}) {
    const fs::path folder = fs::path("/usr/lib/postgresql") / version / "bin";
    if (fs::exists(folder / "initdb") && fs::exists(folder / "postgres")) return folder;
  }
  return std::nullopt;
}

/// Runs a program as an unprivileged user with its output in a file; the child dies with the test.
pid_t spawn(const std::vector<std::string>& arguments, const fs::path& output) {
  const pid_t child = fork();
  if (child != 0) return child;
  prctl(PR_SET_PDEATHSIG, SIGQUIT);
  const int file = open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
  dup2(file, 1);
  dup2(file, 2);
  if (geteuid() == 0 && (setgid(kNobody) != 0 || setuid(kNobody) != 0)) _exit(126);
  prctl(PR_SET_PDEATHSIG, SIGQUIT);  // a change of user clears it
  std::vector<char*> argv;
  for (const std::string& argument : arguments)
    argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  _exit(127);
}

class Cluster {
 public:
  explicit Cluster(const fs::path& programs) {
    std::string pattern = (fs::temp_directory_path() / "snowglobe-native-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    if (geteuid() == 0 && chown(folder_.c_str(), kNobody, kNobody) != 0) return;
    const fs::path data = folder_ / "data";
    int status = 0;
    const pid_t initdb = spawn({(programs / "initdb").string(), "-D", data.string(), "-U",
                                "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N"},
                               folder_ / "log");
    waitpid(initdb, &status, 0);
    if (status != 0) return;
    server_ = spawn({(programs / "postgres").string(), "-D", data.string(), "-k", folder_.string(),
                     "-c", "listen_addresses=", "-c", "fsync=off", "-c", "deadlock_timeout=100ms"},
                    folder_ / "log");
  }
  ~Cluster() {
    if (server_ > 0) {
      kill(server_, SIGINT);
      waitpid(server_, nullptr, 0);
    }
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  [[nodiscard]] const fs::path& folder() const { return folder_; }
  [[nodiscard]] bool started() const { return server_ > 0; }

 private:
  fs::path folder_;
  pid_t server_ = -1;
};

/// The part of Server that does not need a machine.
class NativeServer final : public detail::Server {
 public:
  NativeServer(std::string folder, std::function<void(const LogLine&)> log)
      : folder_(std::move(folder)), log_(std::move(log)) {}

  [[nodiscard]] detail::ServerAddress address() const override { return {folder_, "5432"}; }
  void check(std::chrono::milliseconds) override {
    if (!open_) throw ConnectionLost("the database is closed");
  }
  void log(const LogLine& line) override {
    if (log_) log_(line);
  }
  void close() noexcept override { open_ = false; }
  [[nodiscard]] bool is_open() const noexcept override { return open_; }
  [[nodiscard]] Info info() const override { return {}; }
  [[nodiscard]] Stats stats() const override { return {}; }
  [[nodiscard]] std::vector<std::string> console() const override { return {}; }
  ExecResult exec(const std::vector<std::string>&, const ExecOptions&) override { return {}; }
  void put(std::string_view, std::string_view, unsigned) override {}
  std::string get(std::string_view) override { return {}; }
  std::uint16_t listen(const std::string&, std::uint16_t) override { return 0; }
  void unlisten(const std::string&, std::uint16_t) override {}

 private:
  std::string folder_;
  std::function<void(const LogLine&)> log_;
  std::atomic<bool> open_ = true;
};

Cluster* cluster() {
  static const std::unique_ptr<Cluster> kCluster = [] {
    const std::optional<fs::path> programs = find_programs();
    return programs ? std::make_unique<Cluster>(*programs) : nullptr;
  }();
  return kCluster && kCluster->started() ? kCluster.get() : nullptr;
}

}  // namespace

std::optional<Database> open_native(const Options& options) {
  const Cluster* native = cluster();
  if (native == nullptr) return std::nullopt;
  Database database(std::make_shared<detail::DatabaseState>(
      std::make_shared<NativeServer>(native->folder().string(), options.on_log), options));
  for (int attempt = 0;; ++attempt) {
    try {
      database.execute("select 1");
      return database;
    } catch (const Error&) {
      if (attempt == 100) throw;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }
}

}  // namespace snowglobe::testing
