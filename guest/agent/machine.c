/* guest/agent/machine.c - requests about the machine as a whole: memory, address, its end. */
#include "agent.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int64_t monotonic_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Maps and locks the program files of PostgreSQL, in order and so in runs of physical memory. */
static bool lock_text(void) {
  static bool locked;
  char path[64], line[512];
  if (locked) return true;
  snprintf(path, sizeof path, "/proc/%d/maps", (int)postgres_pid());
  FILE* maps = postgres_running() ? fopen(path, "re") : NULL;
  if (!maps) {
    errno = ESRCH;
    return false;
  }
  while (fgets(line, sizeof line, maps)) {
    unsigned long start, end, offset;
    char mode[5], file[400];
    if (sscanf(line, "%lx-%lx %4s %lx %*s %*s %399s", &start, &end, mode, &offset, file) != 5) {
      continue;
    }
    if (strcmp(mode, "r-xp") != 0 || file[0] != '/') continue;
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    void* text = mmap(NULL, end - start, PROT_READ | PROT_EXEC, MAP_SHARED, fd, (off_t)offset);
    if (text != MAP_FAILED) mlock(text, end - start); /* for as long as the machine runs */
    close(fd);
  }
  fclose(maps);
  locked = true;
  return true;
}

void machine_quiesce(uint32_t id, struct reader* reader) {
  uint32_t flags = read_u32(reader);
  uint32_t known = SNOWGLOBE_QUIESCE_SYNC | SNOWGLOBE_QUIESCE_DROP_CACHES |
                   SNOWGLOBE_QUIESCE_LOCK_TEXT | SNOWGLOBE_QUIESCE_SCRUB | SNOWGLOBE_QUIESCE_TRIM;
  if (!read_all(reader) || flags & ~known) {
    send_error(id, EPROTO, "malformed QUIESCE");
    return;
  }
  bool done = true;
  if (flags & SNOWGLOBE_QUIESCE_LOCK_TEXT) done = lock_text();
  if (flags & SNOWGLOBE_QUIESCE_SYNC) sync();
  if (flags & SNOWGLOBE_QUIESCE_DROP_CACHES ||
      (flags & SNOWGLOBE_QUIESCE_TRIM && memory_caches_are_large())) {
    done = write_text("/proc/sys/vm/drop_caches", "3") && done;
  }
  const char* zeroing = boot_word("init_on_free");
  if (flags & SNOWGLOBE_QUIESCE_SCRUB && !(zeroing && strcmp(zeroing, "1") == 0)) {
    errno = ENOTSUP;
    done = false;
  }
  send_outcome(id, done, "quiesce");
}

static struct sockaddr address_of(in_addr_t host) {
  struct sockaddr result;
  struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = host};
  memcpy(&result, &in, sizeof result);
  return result;
}

static bool parse_address(const char* text, in_addr_t* address, in_addr_t* mask) {
  char host[16];
  const char* slash = strchr(text, '/');
  if (!slash || (size_t)(slash - text) >= sizeof host) return false;
  memcpy(host, text, (size_t)(slash - text));
  host[slash - text] = 0;
  char* end;
  unsigned long length = strtoul(slash + 1, &end, 10);
  struct in_addr parsed;
  if (*end || end == slash + 1 || length < 1 || length > 32 || !inet_aton(host, &parsed)) {
    return false;
  }
  *address = parsed.s_addr;
  *mask = htonl((uint32_t)(0xffffffffull << (32 - length)));
  return true;
}

const char* machine_address(const char* address_and_length, const char* gateway) {
  in_addr_t address, mask;
  struct in_addr next = {0};
  if (!parse_address(address_and_length, &address, &mask) ||
      (gateway[0] && !inet_aton(gateway, &next))) {
    errno = EINVAL;
    return "read the address";
  }
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  struct ifreq request = {.ifr_name = "eth0"};
  const char* failed = NULL;
  request.ifr_addr = address_of(address);
  if (ioctl(fd, SIOCSIFADDR, &request) < 0) failed = "set the address of eth0";
  request.ifr_netmask = address_of(mask);
  if (!failed && ioctl(fd, SIOCSIFNETMASK, &request) < 0) failed = "set the netmask of eth0";
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (!failed && ioctl(fd, SIOCSIFFLAGS, &request) < 0) failed = "bring up eth0";
  if (!failed && gateway[0]) {
    struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};
    route.rt_dst = address_of(0);
    route.rt_genmask = address_of(0);
    while (ioctl(fd, SIOCDELRT, &route) == 0) continue;
    route.rt_gateway = address_of(next.s_addr);
    if (ioctl(fd, SIOCADDRT, &route) < 0) failed = "set the default route";
  }
  int error = errno;
  close(fd);
  errno = error;
  return failed;
}

bool machine_hardware_address(const uint8_t address[6]) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  struct ifreq request = {.ifr_name = "eth0"};
  bool done = fd >= 0 && ioctl(fd, SIOCGIFHWADDR, &request) == 0;
  /* A change makes the kernel forget its neighbours. */
  if (done && memcmp(request.ifr_hwaddr.sa_data, address, 6) != 0) {
    memcpy(request.ifr_hwaddr.sa_data, address, 6);
    done = ioctl(fd, SIOCSIFHWADDR, &request) == 0;
  }
  int error = errno;
  if (fd >= 0) close(fd);
  errno = error;
  return done;
}

void machine_set_address(uint32_t id, struct reader* reader) {
  const char* address = read_string(reader);
  const char* gateway = read_string(reader);
  if (!read_all(reader)) {
    send_error(id, EPROTO, "malformed SET_ADDRESS");
    return;
  }
  const char* failed = machine_address(address, gateway);
  send_outcome(id, failed == NULL, failed);
}

/* --- the end of the machine ------------------------------------------------------------------- */

static bool shutting_down, postgres_over;
static uint32_t shutdown_id;
static int postgres_status = -1;
static int64_t shutdown_deadline;
static int shutdown_force; /* 0: fast, 1: immediate, 2: killed */

bool machine_shutting_down(void) { return shutting_down; }

void machine_postgres_ended(int status) {
  if (!shutting_down) return;
  postgres_over = true;
  postgres_status = status;
}

void machine_request_shutdown(uint32_t id, struct reader* reader) {
  uint32_t milliseconds = read_u32(reader);
  if (!read_all(reader)) {
    send_error(id, EPROTO, "malformed SHUTDOWN");
  } else if (shutting_down) {
    send_error(id, EALREADY, "the machine is shutting down already");
  } else {
    machine_shutdown(id, milliseconds);
  }
}

void machine_shutdown(uint32_t id, uint32_t milliseconds) {
  if (shutting_down) return;
  shutting_down = true;
  shutdown_id = id;
  shutdown_deadline = monotonic_ms() + milliseconds;
  postgres_over = !postgres_running();
  postgres_signal(SIGINT);
}

_Noreturn static void end_machine(void) {
  kill(-1, SIGKILL);
  while (waitpid(-1, NULL, 0) > 0) continue;
  sync();
  if (umount(DATA_MOUNT) < 0) mount(NULL, DATA_MOUNT, NULL, MS_REMOUNT | MS_RDONLY, NULL);
  if (shutdown_id) {
    frame_begin(shutdown_id, SNOWGLOBE_OK);
    frame_u32((uint32_t)postgres_status);
    frame_end();
    port_drain();
    struct timespec moment = {.tv_nsec = 10000000}; /* for a host that takes it on another thread */
    nanosleep(&moment, NULL);
  }
  reboot(RB_AUTOBOOT);
  for (;;) pause();
}

int64_t machine_shutdown_step(int64_t now) {
  if (!shutting_down) return 0;
  if (postgres_over) end_machine();
  if (now >= shutdown_deadline) {
    if (shutdown_force == 2) end_machine(); /* not even SIGKILL helped: a disk that hangs */
    postgres_signal(shutdown_force == 0 ? SIGQUIT : SIGKILL);
    shutdown_force++;
    shutdown_deadline = now + 5000;
  }
  return shutdown_deadline;
}
