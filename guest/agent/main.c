/* guest/agent/main.c - PID 1 of the guest: boots, runs PostgreSQL, serves the host.
 *
 * `agent --serve FD` serves requests on a descriptor as an ordinary process: for tests outside. */
#include "agent.h"

#include <errno.h>
#include <linux/netlink.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long the host's port may take to appear before PostgreSQL's log goes to the console. */
#define PORT_PATIENCE_MS 3000

static int signals = -1;
static int device_events = -1; /* until the port is found */
static int64_t port_deadline;

static void collect_children(void) {
  int status;
  pid_t pid;
  while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
    if (!postgres_exited(pid, status)) exec_exited(pid, status);
  }
}

static void take_signals(void) {
  struct signalfd_siginfo info;
  while (read(signals, &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGCHLD) collect_children();
    if (info.ssi_signo == SIGIO) port_changed();
    /* What busybox's poweroff, halt and reboot send to init. */
    if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGUSR1 || info.ssi_signo == SIGUSR2) {
      if (getpid() != 1) exit(0);
      machine_shutdown(0, 10000);
    }
  }
}

static void open_signals(void) {
  static const int wanted[] = {SIGCHLD, SIGIO, SIGTERM, SIGUSR1, SIGUSR2};
  sigset_t set;
  sigemptyset(&set);
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) sigaddset(&set, wanted[i]);
  sigprocmask(SIG_BLOCK, &set, NULL);
  signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  signal(SIGPIPE, SIG_IGN);
}

/* The port appears some time after the boot, in answer to the driver; the kernel announces it. */
static void open_device_events(void) {
  device_events =
      socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
  struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
  if (device_events >= 0) bind(device_events, (struct sockaddr*)&address, sizeof address);
}

static void look_for_port(void) {
  if (!port_open() || device_events < 0) return;
  close(device_events);
  device_events = -1;
  port_deadline = 0;
}

static void take_device_events(void) {
  char event[2048];
  bool relevant = false;
  ssize_t length;
  while ((length = recv(device_events, event, sizeof event, 0)) > 0) {
    relevant = relevant || memmem(event, (size_t)length, "virtio-ports", 12);
  }
  if (relevant) look_for_port();
}

static void pump_requests(void) {
  for (size_t i = 0; i < SNOWGLOBE_MAX_OPEN; i++) {
    if (requests[i].kind == EXEC_REQUEST) exec_pump(&requests[i]);
    if (requests[i].kind == GET_REQUEST) get_pump(&requests[i]);
  }
}

/* Milliseconds until the next deadline, -1 if there is none. */
static int deadlines(void) {
  int64_t now = monotonic_ms();
  int64_t times[3] = {exec_deadlines(now), machine_shutdown_step(now), port_deadline};
  int64_t next = 0;
  if (port_deadline && port_deadline <= now) {
    log_to_console();
    log_line("no port named " SNOWGLOBE_PORT_NAME ": the log goes to the console");
    times[2] = port_deadline = 0;
  }
  for (size_t i = 0; i < 3; i++) {
    if (times[i] && (!next || times[i] < next)) next = times[i];
  }
  if (!next) return -1;
  return next <= now ? 0 : (int)(next - now);
}

enum { PORT, SIGNALS, DEVICES, LOG, WATCH, FIXED };

static void serve(void) {
  static struct pollfd fds[FIXED + 3 * SNOWGLOBE_MAX_OPEN];
  int timeout = deadlines();
  fds[PORT] = (struct pollfd){.fd = port_descriptor(), .events = port_events()};
  fds[SIGNALS] = (struct pollfd){.fd = signals, .events = POLLIN};
  fds[DEVICES] = (struct pollfd){.fd = device_events, .events = POLLIN};
  fds[LOG] = (struct pollfd){.fd = postgres_log_descriptor(), .events = POLLIN};
  fds[WATCH] = (struct pollfd){.fd = postgres_watch_descriptor(), .events = POLLIN};
  size_t count = FIXED;
  for (size_t i = 0; i < SNOWGLOBE_MAX_OPEN; i++) {
    if (requests[i].kind == EXEC_REQUEST) count += exec_poll(&requests[i], fds + count);
  }
  if (poll(fds, count, timeout) <= 0) return;
  if (fds[LOG].revents) postgres_log_ready();
  if (fds[WATCH].revents) postgres_watch_ready();
  if (fds[SIGNALS].revents) take_signals();
  if (fds[DEVICES].revents) take_device_events();
  if (fds[PORT].revents) port_ready(fds[PORT].revents);
  pump_requests();
}

static void hello(void) {
  const char* version = boot_image_version();
  frame_begin(0, SNOWGLOBE_HELLO);
  frame_u32(SNOWGLOBE_PROTOCOL_VERSION);
  frame_string(version, strlen(version));
  frame_end();
}

static void boot_and_start(void) {
  bool ready = boot();
  open_device_events();
  port_deadline = monotonic_ms() + PORT_PATIENCE_MS;
  look_for_port();
  const char* manual = boot_word("snowglobe.postgres");
  if (!ready || (manual && strcmp(manual, "manual") == 0)) return;
  int error = postgres_start(boot_settings());
  if (error) send_text(SNOWGLOBE_BOOT_FAILED, "start PostgreSQL: %s", strerror(error));
}

int main(int count, char** arguments) {
  open_signals();
  hello();
  if (count == 3 && strcmp(arguments[1], "--serve") == 0) {
    const char* generation = getenv("SNOWGLOBE_GENERATION");
    if (generation && !generation_open(generation)) return 1;
    port_use(atoi(arguments[2]));
    while (port_descriptor() >= 0) serve();
    return 0;
  }
  if (getpid() != 1) {
    fputs("the agent is PID 1 of a Snowglobe guest, or runs as `agent --serve FD`\n", stderr);
    return 2;
  }
  boot_and_start();
  for (;;) serve();
}
