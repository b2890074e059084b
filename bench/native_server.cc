// bench/native_server.cc - initdb, start and stop of a native PostgreSQL.
#include "bench/native_server.h"

#include "bench/child.h"
#include "bench/measure.h"
#include <algorithm>
#include <arpa/inet.h>
#include <chrono>
#include <csignal>
#include <fmt/core.h>
#include <fstream>
#include <iterator>
#include <netinet/in.h>
#include <sstream>
#include <stdexcept>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace bench {
namespace fs = std::filesystem;
namespace {

constexpr auto kInitdbLimit = std::chrono::minutes(1);
constexpr auto kStartLimit = std::chrono::seconds(20);
constexpr auto kStopLimit = std::chrono::seconds(20);

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

fs::path make_folder(const fs::path& parent, const char* name) {
  const fs::path where = parent.empty() ? fs::temp_directory_path() : parent;
  std::string pattern = (where / (std::string(name) + "-XXXXXX")).string();
  if (::mkdtemp(pattern.data()) == nullptr) fail("can not make a folder in " + where.string());
  return pattern;
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

NativeServer::NativeServer(Installation installation, const NativeOptions& options)
    : installation_(std::move(installation)),
      work_(make_folder(options.folder, "snowglobe-bench")),
      port_(free_port()),
      conninfo_(fmt::format("host=127.0.0.1 port={} user=postgres dbname=postgres sslmode=disable "
                            "gssencmode=disable",
                            port_)) {
  try {
    make_cluster();
    write_settings(options.settings);
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

std::map<std::string, std::string> NativeServer::environment() const {
  if (installation_.libraries.empty()) return {};
  return {{"LD_LIBRARY_PATH", installation_.libraries.string()}};
}

void NativeServer::make_cluster() {
  if (::geteuid() == 0 && ::chown(work_.c_str(), kNobody, kNobody) != 0) fail("chown failed");
  // Data checksums and small segments of the log, as in the image's cluster
  // (guest/recipe/cluster.py).
  std::vector<std::string> initdb = {(installation_.bin / "initdb").string(),
                                     "-D",
                                     (work_ / "data").string(),
                                     "--username=postgres",
                                     "--auth=trust",
                                     "--encoding=UTF8",
                                     "--data-checksums",
                                     "--text-search-config=english",
                                     "--wal-segsize=1",
                                     "--no-sync"};
  initdb.insert(initdb.end(), installation_.locale.begin(), installation_.locale.end());
  const ChildOptions options{
      .environment = environment(), .output = work_ / "log", .unprivileged = true};
  if (wait_child(start_child(initdb, options), kInitdbLimit) != 0) fail(initdb[0] + " failed");
}

std::vector<std::string> NativeServer::known_settings() const {
  std::vector<std::string> names;
  std::istringstream lines(run_program(
      {(installation_.bin / "postgres").string(), "--describe-config"},
      {.environment = environment(), .unprivileged = true}, work_, std::chrono::seconds(10)));
  for (std::string line; std::getline(lines, line);)
    names.push_back(line.substr(0, line.find('\t')));
  std::sort(names.begin(), names.end());
  return names;
}

void NativeServer::write_settings(const Settings& settings) {
  const std::vector<std::string> known = known_settings();
  std::ofstream file(work_ / "data/postgresql.conf", std::ios::app);
  for (const auto& [name, value] : settings) {
    if (!std::binary_search(known.begin(), known.end(), name)) continue;
    std::string quoted;
    for (const char c : value)
      quoted += c == '\'' ? "''" : std::string(1, c);
    file << name << " = '" << quoted << "'\n";
  }
  file << "listen_addresses = '127.0.0.1'\nport = " << port_ << "\nunix_socket_directories = ''\n";
}

double NativeServer::start() {
  const auto began = std::chrono::steady_clock::now();
  pid_ = start_child({(installation_.bin / "postgres").string(), "-D", (work_ / "data").string()},
                     {.environment = environment(), .output = work_ / "log", .unprivileged = true});
  while (std::chrono::steady_clock::now() < began + kStartLimit) {
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
  fail(fmt::format("{}/postgres did not start: {}", installation_.bin.string(), log_tail()));
}

std::string NativeServer::log_tail() const {
  constexpr std::size_t kLength = 400;
  std::ifstream log(work_ / "log");
  const std::string text{std::istreambuf_iterator<char>(log), std::istreambuf_iterator<char>()};
  return text.substr(text.size() - std::min(text.size(), kLength));
}

void NativeServer::stop() noexcept {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGINT);  // fast shutdown
  wait_child(pid_, kStopLimit);
  pid_ = -1;
}

double NativeServer::restart() {
  stop();
  return start();
}

double NativeServer::restart_after_kill() {
  ::kill(pid_, SIGKILL);
  wait_child(pid_, kStopLimit);
  pid_ = -1;
  // Its processes notice that they are alone; until then the data directory is in use.
  std::this_thread::sleep_for(std::chrono::seconds(1));
  return start();
}

std::unique_ptr<NativeServer> NativeServer::twin(const fs::path& image, std::string& why,
                                                 const NativeOptions& options) {
  const fs::path root = image / "root";
  if (!fs::exists(root / "usr/bin/postgres")) {
    why = "the image at '" + image.string() + "' has no unpacked root folder";
    return nullptr;
  }
  fs::path copy;
  try {
    // A copy that the unprivileged user may enter, wherever the image's cache lies.
    copy = make_folder(options.folder, "snowglobe-twin");
    fs::permissions(copy, fs::perms(0755));
    fs::copy(fs::canonical(root) / "usr", copy / "usr",
             fs::copy_options::recursive | fs::copy_options::copy_symlinks);
    Installation installation{
        .bin = copy / "usr/bin",
        .libraries = copy_client_libraries(root, copy / "lib"),
        .locale = {"--locale=C.UTF-8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"}};
    auto server = std::make_unique<NativeServer>(std::move(installation), options);
    server->copy_ = copy;
    return server;
  } catch (const std::exception& error) {
    why = error.what();
    std::error_code ignored;
    if (!copy.empty()) fs::remove_all(copy, ignored);
    return nullptr;
  }
}

std::unique_ptr<NativeServer> NativeServer::host(std::string& why, const NativeOptions& options) {
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
    // Sorts by bytes as the image's builtin locale does, which came with version 17.
    return std::make_unique<NativeServer>(
        Installation{*std::max_element(found.begin(), found.end()), "", {"--locale=C"}}, options);
  } catch (const std::exception& error) {
    why = error.what();
    return nullptr;
  }
}

}  // namespace bench
