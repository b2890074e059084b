// bench/native_server.cc - initdb, start and stop of a native PostgreSQL.
#include "bench/native_server.h"

#include "bench/measure.h"
#include <algorithm>
#include <arpa/inet.h>
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <fmt/core.h>
#include <grp.h>
#include <netinet/in.h>
#include <stdexcept>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace bench {
namespace fs = std::filesystem;
namespace {

constexpr uid_t kNobody = 65534;

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what);
}

std::uint16_t free_port() {
  const int descriptor = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  const bool bound = ::bind(descriptor, reinterpret_cast<sockaddr*>(&address), length) == 0 &&
                     ::getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &length) == 0;
  ::close(descriptor);
  if (!bound) fail("no free loopback port");
  return ntohs(address.sin_port);
}

// i686 libraries of the image without its C library, which must match the host's loader.
fs::path copy_client_libraries(const fs::path& root, const fs::path& into) {
  fs::create_directory(into);
  for (const fs::path& folder : {root / "usr/lib", root / "usr/lib/i386-linux-gnu"}) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      const std::string name = entry.path().filename();
      const bool wanted = name.starts_with("libpq") || name.starts_with("libssl") ||
                          name.starts_with("libcrypto") || name.starts_with("libz") ||
                          name.starts_with("libuuid") || name.starts_with("libicu");
      if (wanted) fs::copy_file(fs::canonical(entry.path()), into / name);
    }
  }
  return into;
}

}  // namespace

NativeServer::NativeServer(fs::path bin, fs::path libraries)
    : bin_(std::move(bin)), libraries_(std::move(libraries)), port_(free_port()) {
  std::string pattern = (fs::temp_directory_path() / "snowglobe-bench-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) fail("can not make a temporary folder");
  work_ = pattern;
  if (::geteuid() == 0 && ::chown(work_.c_str(), kNobody, kNobody) != 0) fail("chown failed");
  const pid_t initdb =
      spawn({(bin_ / "initdb").string(), "-D", (work_ / "data").string(), "--username=postgres",
             "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"});
  int status = 0;
  ::waitpid(initdb, &status, 0);
  if (status != 0) {
    fs::remove_all(work_);
    fail(fmt::format("{}/initdb failed", bin_.string()));
  }
  conninfo_ = fmt::format(
      "host=127.0.0.1 port={} user=postgres dbname=postgres sslmode=disable "
      "gssencmode=disable",
      port_);
  try {
    start();
  } catch (...) {
    fs::remove_all(work_);
    throw;
  }
}

NativeServer::~NativeServer() {
  stop();
  std::error_code ignored;
  fs::remove_all(work_, ignored);
  if (!copy_.empty()) fs::remove_all(copy_, ignored);
}

pid_t NativeServer::spawn(const std::vector<std::string>& argv) const {
  std::vector<char*> arguments;
  for (const std::string& argument : argv)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  const pid_t child = ::fork();
  if (child < 0) fail("fork failed");
  if (child > 0) return child;
  const int log = ::open((work_ / "log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
  const int null = ::open("/dev/null", O_RDONLY);
  ::dup2(null, 0);
  ::dup2(log, 1);
  ::dup2(log, 2);
  const bool lowered = ::geteuid() != 0 || (::setgroups(0, nullptr) == 0 &&
                                            ::setgid(kNobody) == 0 && ::setuid(kNobody) == 0);
  if (!libraries_.empty()) ::setenv("LD_LIBRARY_PATH", libraries_.c_str(), 1);
  ::prctl(PR_SET_PDEATHSIG, SIGQUIT);  // goes with us; after the change of user, which clears it
  if (lowered && ::chdir("/") == 0) ::execv(arguments[0], arguments.data());
  ::_exit(127);
}

double NativeServer::start() {
  const auto began = std::chrono::steady_clock::now();
  pid_ = spawn({(bin_ / "postgres").string(), "-D", (work_ / "data").string(),
                // The settings of the image that bear on speed (guest/cluster/postgresql.conf).
                "-c", "listen_addresses=127.0.0.1", "-c", "port=" + std::to_string(port_), "-c",
                "unix_socket_directories=", "-c", "shared_buffers=16MB", "-c", "jit=off", "-c",
                "max_parallel_workers_per_gather=0", "-c", "max_parallel_maintenance_workers=0",
                "-c", "random_page_cost=1.1", "-c", "update_process_title=off"});
  const auto limit = began + std::chrono::seconds(20);
  while (std::chrono::steady_clock::now() < limit) {
    try {
      Client client(conninfo_);
      client.run("select 1");
      return Seconds(std::chrono::steady_clock::now() - began).count();
    } catch (const std::runtime_error&) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
      pid_ = -1;
      break;
    }
  }
  stop();
  fail(fmt::format("{}/postgres did not start", bin_.string()));
}

void NativeServer::stop() noexcept {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGINT);  // fast shutdown
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

double NativeServer::restart() {
  stop();
  return start();
}

std::unique_ptr<NativeServer> NativeServer::twin(const fs::path& image, std::string& why) {
  const fs::path root = image / "root";
  if (!fs::exists(root / "usr/bin/postgres")) {
    why = "the image at '" + image.string() + "' has no unpacked root folder";
    return nullptr;
  }
  // A copy that the unprivileged user may enter, wherever the image's cache lies.
  std::string pattern = (fs::temp_directory_path() / "snowglobe-twin-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) {
    why = "can not make a temporary folder";
    return nullptr;
  }
  const fs::path copy = pattern;
  try {
    ::chmod(copy.c_str(), 0755);
    fs::copy(fs::canonical(root) / "usr", copy / "usr",
             fs::copy_options::recursive | fs::copy_options::copy_symlinks);
    auto server =
        std::make_unique<NativeServer>(copy / "usr/bin", copy_client_libraries(root, copy / "lib"));
    server->copy_ = copy;
    return server;
  } catch (const std::exception& error) {
    why = error.what();
    std::error_code ignored;
    fs::remove_all(copy, ignored);
    return nullptr;
  }
}

std::unique_ptr<NativeServer> NativeServer::host(std::string& why) {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/usr/lib/postgresql", ignored)) {
    if (fs::exists(entry.path() / "bin/postgres")) found.push_back(entry.path() / "bin");
  }
  if (found.empty()) {
    why = "no PostgreSQL server is installed";
    return nullptr;
  }
  try {
    return std::make_unique<NativeServer>(*std::max_element(found.begin(), found.end()), "");
  } catch (const std::exception& error) {
    why = error.what();
    return nullptr;
  }
}

}  // namespace bench
