// cli/doctor_host.cc - what `doctor` says about the host: processor, kernel, memory, folders,
// clock.
#include "cli/children.h"
#include "cli/context.h"
#include "cli/doctor_checks.h"
#include "cli/terminal.h"
#include <algorithm>
#include <arpa/inet.h>
#include <chrono>
#include <fmt/format.h>
#include <fstream>
#include <libpq-fe.h>
#include <linux/magic.h>
#include <sqlite3.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <zstd.h>

namespace snowglobe::cli {
namespace fs = std::filesystem;
namespace {

constexpr const char* kSlow = "everything works, 20 to 100 times slower";
constexpr std::uint64_t kMachineMemory = 400'000'000;  // 256 MiB of RAM, its disk and its code

std::string first_match(const char* path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(key)) return line.substr(std::min(line.find(':') + 2, line.size()));
  return {};
}

/// The first word or number of a file of /proc or /sys; empty if it is not there.
std::string first_word(const char* path) {
  std::ifstream file(path);
  std::string word;
  file >> word;
  return word;
}

/// What a file of choices like "always [madvise] never" has in brackets.
std::string chosen(const char* path) {
  std::ifstream file(path);
  for (std::string word; file >> word;)
    if (word.starts_with('[')) return word.substr(1, word.size() - 2);
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
  for (const char* flag : {"fsgsbase", "sse2", "bmi2"}) {
    if (flags.find(fmt::format(" {} ", flag)) != std::string::npos) continue;
    return {Verdict::warning, fmt::format("no {}: the translator does not run, {}", flag, kSlow),
            "an x86-64 processor from 2013 on and Linux 5.9; in a virtual machine: pass the host's "
            "processor through"};
  }
  return {Verdict::ok, fmt::format("fsgsbase, sse2, bmi2: the translator can run; {} processors",
                                   sysconf(_SC_NPROCESSORS_ONLN))};
}

Finding page_size() {
  const long size = sysconf(_SC_PAGESIZE);
  if (size == 4096) return {Verdict::ok, "4096 bytes"};
  return {Verdict::failure, fmt::format("{} bytes", size), "a kernel with pages of 4 KiB"};
}

Finding executable_memory() {
  const int file = memfd_create("snowglobe-doctor", MFD_CLOEXEC);
  if (file < 0 || ftruncate(file, 4096) != 0) {
    if (file >= 0) close(file);
    return {Verdict::failure, "memfd_create is refused: no machine can have memory",
            "allow it in the container's seccomp profile"};
  }
  void* page = mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0);
  close(file);
  if (page != MAP_FAILED) {
    munmap(page, 4096);
    return {Verdict::ok, "a second mapping of one memory may be executable"};
  }
  const bool selinux = first_word("/sys/fs/selinux/enforce") == "1";
  const bool sysctl = first_word("/proc/sys/vm/memfd_noexec") == "2";
  return {Verdict::warning, fmt::format("refused: the interpreter will run, {}", kSlow),
          selinux ? "SELinux refuses: allow execmem to the program's domain"
          : sysctl
              ? "sysctl vm.memfd_noexec=1"
              : "a security module, systemd's MemoryDenyWriteExecute or seccomp refuses: allow "
                "executable memory"};
}

/// A debugger or a filter of system calls in between costs time, or is why something is refused.
Finding supervision() {
  const std::string tracer = first_match("/proc/self/status", "TracerPid");
  if (!tracer.empty() && tracer != "0") {
    return {Verdict::warning,
            fmt::format("process {} traces this one: each fault of the guest stops "
                        "it, which is slow",
                        tracer),
            "in a debugger: handle SIGSEGV SIGFPE nostop noprint pass"};
  }
  const std::string seccomp = first_match("/proc/self/status", "Seccomp:");
  const bool selinux = first_word("/sys/fs/selinux/enforce") == "1";
  return {Verdict::ok, fmt::format("nobody traces; {}; {}",
                                   seccomp == "2" ? "a seccomp filter is active" : "no seccomp",
                                   selinux ? "SELinux enforces" : "no SELinux")};
}

Finding mappings() {
  const std::string text = first_word("/proc/sys/vm/max_map_count");
  const long count = std::strtol(text.c_str(), nullptr, 10);
  if (count >= 65530 || text.empty())
    return {Verdict::ok,
            fmt::format("vm.max_map_count is {}, for all machines of a process", count)};
  return {Verdict::warning,
          fmt::format("vm.max_map_count is only {}: few machines in a process", count),
          "sysctl vm.max_map_count=65530"};
}

Finding open_files() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= 256)
    return {Verdict::ok, fmt::format("up to {} a process", limit.rlim_cur)};
  return {Verdict::warning,
          fmt::format("only {} a process: a machine needs some 30, a client of "
                      "expose two",
                      limit.rlim_cur),
          "ulimit -n 1024"};
}

std::uint64_t kilobytes(const char* key) {
  return std::strtoull(first_match("/proc/meminfo", key).c_str(), nullptr, 10) * 1024;
}

/// What this process may still take: of the computer, of its control group, of its own limit.
Finding memory() {
  std::uint64_t available = kilobytes("MemAvailable");
  std::string whose = "available";
  const std::string group = first_word("/sys/fs/cgroup/memory.max");
  if (!group.empty() && group != "max") {
    const std::uint64_t limit = std::strtoull(group.c_str(), nullptr, 10);
    const std::uint64_t used =
        std::strtoull(first_word("/sys/fs/cgroup/memory.current").c_str(), nullptr, 10);
    const std::uint64_t left = limit > used ? limit - used : 0;
    if (left < available) whose = "left to this control group";
    available = std::min(available, left);
  }
  rlimit limit{};
  getrlimit(RLIMIT_AS, &limit);
  if (limit.rlim_cur != RLIM_INFINITY) {
    return {Verdict::warning,
            fmt::format("ulimit -v is {}: the translator reserves address space of many gigabytes",
                        human_bytes(limit.rlim_cur)),
            "ulimit -v unlimited"};
  }
  const std::string text = fmt::format("{} {}", human_bytes(available), whose);
  if (available > kMachineMemory) return {Verdict::ok, text};
  return {Verdict::warning, text + ": a machine takes 256 MiB and the growth of its disk",
          "make room, or --memory 64"};
}

Finding overcommit() {
  const std::string mode = first_word("/proc/sys/vm/overcommit_memory");
  if (mode != "2") return {Verdict::ok, fmt::format("vm.overcommit_memory is {}", mode)};
  const std::uint64_t limit = kilobytes("CommitLimit"), used = kilobytes("Committed_AS");
  const std::uint64_t left = limit > used ? limit - used : 0;
  const std::string text =
      fmt::format("vm.overcommit_memory is 2, {} may still be promised", human_bytes(left));
  if (left > kMachineMemory) return {Verdict::ok, text};
  return {Verdict::warning, text, "sysctl vm.overcommit_memory=0, or a larger vm.overcommit_ratio"};
}

/// A matter of speed only, and not of the host's kind: the guest has its own large pages.
Finding huge_pages() {
  const std::string mode = chosen("/sys/kernel/mm/transparent_hugepage/enabled");
  return {Verdict::ok, mode.empty() ? "the kernel has no transparent ones; none are needed"
                                    : fmt::format("transparent ones: {}; none are needed", mode)};
}

struct FileSystem {
  long kind;
  const char* name;
  const char* trouble;  ///< null: none
};
constexpr const char* kRemote = "over a network, locks and syncs may not be what they should be";
constexpr FileSystem kFileSystems[] = {
    {EXT4_SUPER_MAGIC, "ext4", nullptr},
    {XFS_SUPER_MAGIC, "xfs", nullptr},
    {BTRFS_SUPER_MAGIC, "btrfs", nullptr},
    {0x2FC12FC1, "zfs", nullptr},
    {F2FS_SUPER_MAGIC, "f2fs", nullptr},
    {OVERLAYFS_SUPER_MAGIC, "overlayfs", nullptr},
    {TMPFS_MAGIC, "tmpfs", "it is memory, and gone at the next boot"},
    {RAMFS_MAGIC, "ramfs", "it is memory, and gone at the next boot"},
    {NFS_SUPER_MAGIC, "NFS", kRemote},
    {SMB_SUPER_MAGIC, "SMB", kRemote},
    {CIFS_SUPER_MAGIC, "SMB", kRemote},
    {SMB2_SUPER_MAGIC, "SMB", kRemote},
    {CEPH_SUPER_MAGIC, "Ceph", kRemote},
    {AFS_SUPER_MAGIC, "AFS", kRemote},
    {V9FS_MAGIC, "9p", kRemote},
    {FUSE_SUPER_MAGIC, "FUSE", "whether locks and syncs are kept is up to its program"},
    {MSDOS_SUPER_MAGIC, "FAT", "it has no holes in files, and files of 4 GB at most"},
};

/// `if_not`: what it means if nothing can be written there. A folder of ours: written to, room,
/// and, if databases lie there, what keeps them.
Finding folder(const fs::path& path, bool databases, const char* names_another,
               Verdict if_not = Verdict::failure) {
  fs::path there = path;
  std::error_code ignored;
  while (!there.empty() && !fs::exists(there, ignored) && there != there.parent_path())
    there = there.parent_path();
  if (there.empty()) there = ".";
  std::string probe = there / ".snowglobe-doctor-XXXXXX";
  const int file = mkstemp(probe.data());
  if (file >= 0) {
    close(file);
    unlink(probe.c_str());
  } else {
    return {if_not, fmt::format("{} cannot be written", there.string()),
            fmt::format("mend its rights or its disk, or name another folder: {}", names_another)};
  }
  struct statvfs space {};
  struct statfs kind {};
  if (statvfs(there.c_str(), &space) != 0 || statfs(there.c_str(), &kind) != 0)
    return {Verdict::warning, there.string() + ": nobody knows how much room there is"};
  const std::uint64_t free = std::uint64_t{space.f_bavail} * space.f_frsize;
  const auto* known = std::find_if(std::begin(kFileSystems), std::end(kFileSystems),
                                   [&kind](const FileSystem& f) { return f.kind == kind.f_type; });
  const bool is_known = known != std::end(kFileSystems);
  std::string text = fmt::format("{}: {} free", path.string(), human_bytes(free));
  if (is_known) text += fmt::format(", {}", known->name);
  if (databases && is_known && known->trouble != nullptr)
    return {Verdict::warning, fmt::format("{}: {}", text, known->trouble),
            "keep databases on a disk of this computer"};
  if (free > 500'000'000) return {Verdict::ok, text};
  return {Verdict::warning, text, "make room"};
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

/// PostgreSQL asks for the time all along, and the guest gets it from the host.
Finding time_source() {
  const std::string source =
      first_word("/sys/devices/system/clocksource/clocksource0/current_clocksource");
  constexpr int kTimes = 1000;
  auto best = std::chrono::nanoseconds::max();
  for (int round = 0; round < 5; ++round) {
    const auto begun = std::chrono::steady_clock::now();
    for (int i = 0; i < kTimes; ++i)
      static_cast<void>(std::chrono::steady_clock::now());
    best = std::min<std::chrono::nanoseconds>(best, std::chrono::steady_clock::now() - begun);
  }
  const std::string text =
      fmt::format("{}, asked in {} ns", source.empty() ? "unknown" : source, best.count() / kTimes);
  if (best.count() / kTimes < 500) return {Verdict::ok, text};
  return {Verdict::warning, text + ": slow, and so are timers and EXPLAIN ANALYZE",
          "the kernel distrusts the processor's counter (dmesg | grep clocksource)"};
}

}  // namespace

std::vector<Check> host_checks(const fs::path& database) {
  std::vector<Check> checks = {
      {"system", system_facts},
      {"versions", versions},
      {"processor", processor},
      {"page size", page_size},
      {"executable memory", executable_memory},
      {"supervision", supervision},
      {"mappings", mappings},
      {"open files", open_files},
      {"memory", memory},
      {"overcommit", overcommit},
      {"huge pages", huge_pages},
      {"time source", time_source},
      {"temporary files", [] { return folder(fs::temp_directory_path(), false, "TMPDIR"); }},
      {"snapshots' folder", [] { return folder(home_folder(), true, "SNOWGLOBE_HOME"); }},
      {"cache folder",
       [] { return folder(cache_folder(), false, "XDG_CACHE_HOME", Verdict::warning); }},
      {"sockets", sockets},
      {"psql", psql},
  };
  if (!database.empty())
    checks.push_back(
        {"database folder", [database] { return folder(database, true, "another path"); }});
  return checks;
}

}  // namespace snowglobe::cli
