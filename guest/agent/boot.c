/* guest/agent/boot.c - from the kernel's hand-over to a machine that PostgreSQL can start on. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char command_line[4096];
static char* words[256];

static void read_command_line(void) {
  int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  ssize_t length = read(fd, command_line, sizeof command_line - 1);
  close(fd);
  if (length < 0) return;
  size_t count = 0;
  for (char* word = strtok(command_line, " \n"); word; word = strtok(NULL, " \n")) {
    if (count < sizeof words / sizeof *words - 1) words[count++] = word;
  }
}

const char* boot_word(const char* name) {
  size_t length = strlen(name);
  const char* value = NULL; /* the last one counts, as for the kernel */
  for (char** word = words; *word; word++) {
    if (strncmp(*word, name, length) == 0 && (*word)[length] == '=') value = *word + length + 1;
  }
  return value;
}

char* const* boot_settings(void) {
  static char* settings[sizeof words / sizeof *words];
  size_t count = 0;
  for (char** word = words; *word; word++) {
    if (strncmp(*word, "snowglobe.pg.", 13) == 0 && strchr(*word, '=')) {
      settings[count++] = *word + 13;
    }
  }
  settings[count] = NULL;
  return settings;
}

const char* boot_image_version(void) {
  static char text[512];
  int fd = open("/etc/os-release", O_RDONLY | O_CLOEXEC);
  ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (fd >= 0) close(fd);
  if (length < 0) return "";
  text[length] = 0;
  char* value = strstr(text, "VERSION_ID=");
  if (!value) return "";
  value += strlen("VERSION_ID=");
  value[strcspn(value, "\n")] = 0;
  return value;
}

static void mount_one(const char* source, const char* target, const char* type, unsigned long flags,
                      const char* options) {
  if (mount(source, target, type, flags, options) < 0) {
    log_line("mount %s on %s: %s", source, target, strerror(errno));
  }
}

static void mount_system(void) {
  const unsigned long safe = MS_NOSUID | MS_NODEV;
  mount_one("proc", "/proc", "proc", safe | MS_NOEXEC, NULL);
  mount_one("sysfs", "/sys", "sysfs", safe | MS_NOEXEC, NULL);
  struct stat status;
  if (stat("/dev/null", &status) < 0) { /* the kernel mounts it unless it is told not to */
    mount_one("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, NULL);
  }
  mkdir("/dev/pts", 0755);
  mkdir("/dev/shm", 01777);
  mount_one("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=620,ptmxmode=666,gid=5");
  mount_one("tmpfs", "/dev/shm", "tmpfs", safe, "mode=1777");
  mount_one("tmpfs", "/tmp", "tmpfs", safe, "mode=1777");
  mount_one("tmpfs", "/run", "tmpfs", safe, "mode=755");
  mkdir("/run/root", 0700);
  mkdir("/run/log", 0755);
  if (!generation_open(GENERATION_FILE)) {
    log_line("make " GENERATION_FILE ": %s", strerror(errno));
  }
}

static void bring_up(const char* name) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  struct ifreq request = {0};
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0) {
    log_line("bring up %s: %s", name, strerror(errno));
  }
  if (fd >= 0) close(fd);
}

static void start_network(void) {
  bring_up("lo");
  if (access("/sys/class/net/eth0", F_OK) < 0) return;
  /* A cable that loses nothing and keeps the order: no options to write into each segment. */
  write_text("/proc/sys/net/ipv4/tcp_timestamps", "0");
  write_text("/proc/sys/net/ipv4/tcp_sack", "0");
  /* Nobody on the cable answers router solicitations or claims our address: do not ask. */
  write_text("/proc/sys/net/ipv6/conf/eth0/accept_ra", "0");
  write_text("/proc/sys/net/ipv6/conf/eth0/accept_dad", "0");
  const char* address = boot_word("snowglobe.ip");
  const char* gateway = boot_word("snowglobe.gateway");
  if (!address) address = "10.5.0.15/16";
  if (!gateway) gateway = "10.5.0.1";
  if (strcmp(address, "none") == 0) return;
  const char* failed = machine_address(address, gateway);
  if (failed) log_line("%s: %s", failed, strerror(errno));
  int fd = open("/run/resolv.conf", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (fd >= 0) {
    dprintf(fd, "nameserver %s\n", gateway);
    close(fd);
  }
}

bool boot(void) {
  umask(022);
  mount_system();
  read_command_line();
  const char* log = boot_word("snowglobe.log");
  if (log && strcmp(log, "console") == 0) log_to_console();
  if (sethostname("snowglobe", 9) < 0) log_line("set the host name: %s", strerror(errno));
  setenv("PATH", "/usr/bin:/usr/sbin:/bin:/sbin", 1);
  setenv("HOME", "/root", 1);
  setenv("TERM", "vt100", 0);
  setenv("LANG", "C.UTF-8", 1);
  setenv("PGUSER", "postgres", 1); /* there is no database role of root */
  memory_settle();
  start_network();
  const char* data = boot_word("snowglobe.data");
  if (data && strcmp(data, "wait") == 0) {
    postgres_park();
    send_text(SNOWGLOBE_PROGRESS, "waiting for the data disk");
    return false;
  }
  const char* limit = boot_word("snowglobe.disk_limit");
  struct data_size size;
  const char* failed = data_mount(limit ? strtoull(limit, NULL, 10) : 0, &size);
  int error = errno;
  if (failed) log_line("%s: %s", failed, strerror(error));
  if (data_mounted()) {
    send_text(SNOWGLOBE_PROGRESS, "disks and network are up");
  } else {
    send_text(SNOWGLOBE_BOOT_FAILED, "%s: %s", failed, strerror(error));
  }
  return data_mounted();
}
