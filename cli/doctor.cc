// cli/doctor.cc - does everything work on this computer, and if not, what helps?
#include "cli/doctor.h"

#include "cli/children.h"
#include "cli/json.h"
#include "cli/terminal.h"
#include <arpa/inet.h>
#include <fmt/format.h>
#include <fstream>
#include <functional>
#include <iostream>
#include <libpq-fe.h>
#include <sqlite3.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <zstd.h>

namespace snowglobe::cli {
namespace fs = std::filesystem;
namespace {

using Clock = std::chrono::steady_clock;

enum class Verdict : std::uint8_t { ok, warning, failure };

struct Finding {
  Verdict verdict = Verdict::ok;
  std::string text;
  std::string advice = {};
};

std::string first_match(const char* path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(key)) return line.substr(std::min(line.find(':') + 2, line.size()));
  return {};
}

Finding system_facts() {
  utsname name{};
  uname(&name);
  return {Verdict::ok, fmt::format("{} {} {}; {}", name.sysname, name.release, name.machine,
                                   first_match("/proc/cpuinfo", "model name"))};
}

Finding versions() {
  return {Verdict::ok, fmt::format("snowglobe {}, SQLite {}, zstd {}, libpq {}.{}",
                                   library_version(), sqlite3_libversion(), ZSTD_versionString(),
                                   PQlibVersion() / 10000, PQlibVersion() % 10000)};
}

Finding processor() {
  const std::string flags = " " + first_match("/proc/cpuinfo", "flags") + " ";
  for (const char* flag : {" fsgsbase ", " sse2 ", " bmi2 "})
    if (flags.find(flag) == std::string::npos)
      return {Verdict::warning, fmt::format("no{}: the translator may not run", flag),
              "without it everything works, 20 to 100 times slower"};
  return {Verdict::ok, "fsgsbase, sse2, bmi2"};
}

Finding page_size() {
  const long size = sysconf(_SC_PAGESIZE);
  if (size == 4096) return {Verdict::ok, "4096 bytes"};
  return {Verdict::failure, fmt::format("{} bytes", size), "a kernel with pages of 4 KiB"};
}

Finding executable_memory() {
  const int file = memfd_create("snowglobe-doctor", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, 4096) != 0)
    return {Verdict::failure, "memfd_create is refused",
            "allow it in the container's seccomp profile"};
  void* page = mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0);
  close(file);
  if (page == MAP_FAILED)
    return {Verdict::warning, "refused: the interpreter will run, 20 to 100 times slower",
            "allow executable memory files (SELinux: execmem; hardened kernels)"};
  munmap(page, 4096);
  return {Verdict::ok, "a second mapping of one memory may be executable"};
}

Finding mappings() {
  std::ifstream file("/proc/sys/vm/max_map_count");
  long count = 0;
  file >> count;
  if (count >= 65530) return {Verdict::ok, fmt::format("vm.max_map_count is {}", count)};
  return {Verdict::warning, fmt::format("vm.max_map_count is only {}", count),
          "sysctl vm.max_map_count=65530"};
}

Finding memory() {
  std::ifstream file("/proc/meminfo");
  std::uint64_t available = 0;
  for (std::string word; file >> word;)
    if (word == "MemAvailable:") file >> available;
  const std::string text = human_bytes(available * 1024) + " available";
  if (available * 1024 > 300'000'000) return {Verdict::ok, text};
  return {Verdict::warning, text,
          "a machine takes its --memory (128 MiB) at most, and its growing disk"};
}

Finding folder(const fs::path& path) {
  fs::path there = path;
  std::error_code ignored;
  while (!there.empty() && !fs::exists(there, ignored) && there != there.parent_path())
    there = there.parent_path();
  if (access(there.c_str(), W_OK | X_OK) != 0)
    return {Verdict::failure, fmt::format("{} cannot be written", there.string()),
            "mend its rights, or name another (TMPDIR, SNOWGLOBE_HOME, XDG_CACHE_HOME)"};
  struct statvfs space {};
  if (statvfs(there.c_str(), &space) != 0) return {Verdict::warning, there.string()};
  const std::uint64_t free = std::uint64_t{space.f_bavail} * space.f_frsize;
  const std::string text = fmt::format("{}: {} free", path.string(), human_bytes(free));
  if (free > 500'000'000) return {Verdict::ok, text};
  return {Verdict::warning, text, "make room: the first start unpacks some 100 MB into the cache"};
}

fs::path cache_folder() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache == '/')
    return fs::path(cache) / "snowglobe";
  const char* home = std::getenv("HOME");
  return fs::path(home == nullptr ? "/" : home) / ".cache" / "snowglobe";
}

bool binds(int family, const sockaddr* address, socklen_t size) {
  const int descriptor = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool bound = descriptor >= 0 && bind(descriptor, address, size) == 0;
  if (descriptor >= 0) close(descriptor);
  return bound;
}

Finding sockets() {
  sockaddr_un unix_address{};
  unix_address.sun_family = AF_UNIX;
  const std::string name = fmt::format("snowglobe-doctor-{}", getpid());
  name.copy(unix_address.sun_path + 1, name.size());
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (!binds(AF_UNIX, reinterpret_cast<const sockaddr*>(&unix_address), size))
    return {Verdict::failure, "no abstract Unix socket can be made",
            "sessions need one: allow AF_UNIX in the container"};
  sockaddr_in four{};
  four.sin_family = AF_INET;
  four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (!binds(AF_INET, reinterpret_cast<const sockaddr*>(&four), sizeof four))
    return {Verdict::warning, "127.0.0.1 cannot be bound", "expose, run and psql need it"};
  sockaddr_in6 six{};
  six.sin6_family = AF_INET6;
  six.sin6_addr = in6addr_loopback;
  const bool ipv6 = binds(AF_INET6, reinterpret_cast<const sockaddr*>(&six), sizeof six);
  return {Verdict::ok,
          ipv6 ? "abstract Unix, 127.0.0.1, ::1" : "abstract Unix, 127.0.0.1 (no ::1)"};
}

Finding psql() {
  const std::string path = find_program("psql");
  if (path.empty())
    return {Verdict::ok, "not installed: `shell` uses our own prompt (Debian: postgresql-client)"};
  return {Verdict::ok, path};
}

/// What a database can show; the first of them starts it.
class Trial {
 public:
  explicit Trial(Context& context) : context_(context) {}

  Finding start() {
    const auto begun = Clock::now();
    running_.emplace(context_);
    const Info info = running_->database.info();
    const auto took = Clock::now() - begun;
    const std::string text =
        fmt::format("{} in {}, image {} ({})", info.started, human_duration(took),
                    info.image.string(), info.image_id.substr(0, 12));
    if (!info.why_cold.empty())
      return {Verdict::warning, text + ": " + info.why_cold,
              "./dev guest makes the ready state; starts take 80 ms then"};
    return {Verdict::ok, text};
  }

  Finding executor() {
    const Info info = database().info();
    if (info.why_interpreted.empty()) return {Verdict::ok, info.executor};
    return {Verdict::warning, info.executor + ": " + info.why_interpreted,
            "everything works, 20 to 100 times slower"};
  }

  Finding query() {
    const auto begun = Clock::now();
    const std::string version = database().version();
    return {Verdict::ok, fmt::format("{} in {}", version.substr(0, version.find(',')),
                                     human_duration(Clock::now() - begun))};
  }

  Finding restore() {
    Database& db = database();
    db.execute("create table snowglobe_doctor (n int)");
    const auto begun = Clock::now();
    const Snapshot saved = db.save();
    const auto save_took = Clock::now() - begun;
    db.execute("insert into snowglobe_doctor values (1)");
    const auto back = Clock::now();
    db.restore(saved);
    const auto restore_took = Clock::now() - back;
    const int rows = db.one<int>("select count(*)::int from snowglobe_doctor");
    db.execute("drop table snowglobe_doctor");
    if (rows != 0) return {Verdict::failure, "a row is there after the restore", "report this"};
    return {Verdict::ok, fmt::format("saved in {}, restored in {}", human_duration(save_took),
                                     human_duration(restore_took))};
  }

  Finding clock() {
    const double guest =
        database().one<double>("select extract(epoch from clock_timestamp())::float8");
    const double host =
        std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    const std::string text = fmt::format("{:.0f} ms apart after the restore", (guest - host) * 1e3);
    if (std::abs(guest - host) < 1) return {Verdict::ok, text};
    return {Verdict::failure, text, "report this, with `snowglobe logs --source kernel`"};
  }

  Finding expose() {
    const Endpoint endpoint = database().expose();
    const std::string info = endpoint.uri() + "?connect_timeout=10";
    const std::unique_ptr<PGconn, decltype(&PQfinish)> connection(PQconnectdb(info.c_str()),
                                                                  &PQfinish);
    const bool in = PQstatus(connection.get()) == CONNECTION_OK;
    const std::string why = in ? "" : PQerrorMessage(connection.get());
    database().hide(endpoint);
    if (!in) return {Verdict::failure, why, "does a firewall or a container stop loopback?"};
    return {Verdict::ok, "an outside client logged in with SCRAM on 127.0.0.1"};
  }

 private:
  Database& database() {
    if (!running_) throw Failure(kFailed, "no machine runs");
    return running_->database;
  }

  Context& context_;
  std::optional<Running> running_;
};

struct Check {
  const char* name;
  std::function<Finding()> look;
};

Finding guarded(const Check& check, int& code) {
  try {
    return check.look();
  } catch (const ImageError& error) {
    code = kNoImage;
    return {Verdict::failure, error.what(), "SNOWGLOBE_IMAGE or --image names the image's folder"};
  } catch (const Cancelled&) {
    throw;
  } catch (const std::exception& error) {
    return {Verdict::failure, error.what(), ""};
  }
}

void print(const Check& check, const Finding& finding) {
  const std::string mark = finding.verdict == Verdict::ok        ? styled(Style::green, "ok  ")
                           : finding.verdict == Verdict::warning ? styled(Style::yellow, "warn")
                                                                 : styled(Style::red, "FAIL");
  std::cout << fmt::format("{}  {:<18} {}\n", mark, check.name, finding.text);
  if (finding.verdict != Verdict::ok && !finding.advice.empty())
    std::cout << fmt::format("      {:<18} -> {}\n", "", finding.advice);
  std::cout.flush();
}

}  // namespace

int run_doctor(Context& context) {
  Trial trial(context);
  const Check checks[] = {
      {"system", system_facts},
      {"versions", versions},
      {"processor", processor},
      {"page size", page_size},
      {"executable memory", executable_memory},
      {"mappings", mappings},
      {"memory", memory},
      {"temporary files", [] { return folder(fs::temp_directory_path()); }},
      {"data folder", [] { return folder(home_folder()); }},
      {"cache folder", [] { return folder(cache_folder()); }},
      {"sockets", sockets},
      {"psql", psql},
      {"start", [&trial] { return trial.start(); }},
      {"executor", [&trial] { return trial.executor(); }},
      {"query", [&trial] { return trial.query(); }},
      {"save and restore", [&trial] { return trial.restore(); }},
      {"clock", [&trial] { return trial.clock(); }},
      {"expose", [&trial] { return trial.expose(); }},
  };
  int code = kOk;
  Json all = Json::array();
  for (const Check& check : checks) {
    int worse = kFailed;
    const Finding finding = guarded(check, worse);
    if (finding.verdict == Verdict::failure && code == kOk) code = worse;
    constexpr const char* kVerdicts[] = {"ok", "warning", "failure"};
    all.push_back({{"check", check.name},
                   {"verdict", kVerdicts[static_cast<std::size_t>(finding.verdict)]},
                   {"text", finding.text},
                   {"advice", finding.advice}});
    if (!context.globals.json) print(check, finding);
  }
  if (context.globals.json) {
    print_json({{"healthy", code == kOk}, {"checks", all}});
  } else {
    std::cout << (code == kOk ? "everything works\n" : "something does not work here\n");
  }
  return code;
}

}  // namespace snowglobe::cli
