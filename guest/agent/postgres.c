/* guest/agent/postgres.c - PostgreSQL's postmaster: started, watched, stopped; never restarted
 * unasked. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define PID_FILE DATA_FOLDER "/postmaster.pid"
#define CONFIGURATION DATA_FOLDER "/postgresql.conf"
#define OUT_OF_MEMORY_FILE "/proc/self/oom_score_adj"
/* How long a postmaster may take until it asks for its configuration. */
#define PARKING_PATIENCE_MS 10000

static pid_t postmaster;    /* 0: not running */
static pid_t parked;        /* one that waits for its data; 0: none */
static int parked_at = -1;  /* the pipe that it reads */
static uint32_t stop_id;    /* the STOP_POSTGRES that waits */
static bool stop_requested; /* ... is there one */
static int log_pipe = -1;
static int watch = -1;

bool postgres_running(void) { return postmaster != 0; }
pid_t postgres_pid(void) { return postmaster; }
int postgres_log_descriptor(void) { return log_pipe; }
int postgres_watch_descriptor(void) { return watch; }

void postgres_signal(int signal) {
  if (postmaster) kill(postmaster, signal);
}

_Noreturn static void become_postgres(char* const* settings, int log) {
  static char* arguments[2 * SNOWGLOBE_MAX_STRINGS + 4];
  size_t count = 0;
  arguments[count++] = (char*)POSTGRES_PROGRAM; /* its own path: it finds its files by it */
  arguments[count++] = (char*)"-D";
  arguments[count++] = (char*)DATA_FOLDER;
  for (size_t i = 0; settings[i] && i < SNOWGLOBE_MAX_STRINGS; i++) {
    arguments[count++] = (char*)"-c";
    arguments[count++] = settings[i];
  }
  char* environment[] = {(char*)"PATH=/usr/bin:/usr/sbin:/bin:/sbin",
                         (char*)"LANG=C.UTF-8",
                         (char*)"HOME=" DATA_MOUNT,
                         (char*)"SNOWGLOBE_GENERATION=" GENERATION_FILE,
                         (char*)"PG_OOM_ADJUST_FILE=" OUT_OF_MEMORY_FILE,
                         NULL};
  int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
  gid_t group = POSTGRES_UID;
  sigset_t none;
  sigemptyset(&none);
  signal(SIGPIPE, SIG_DFL);
  sigprocmask(SIG_SETMASK, &none, NULL);
  setsid();
  /* Where memory runs out, a backend ends and not their parent; it sets them back to 0. */
  write_text(OUT_OF_MEMORY_FILE, "-1000");
  if (dup2(nothing, 0) >= 0 && dup2(log, 1) >= 0 && dup2(log, 2) >= 0 && chdir("/") == 0 &&
      setgroups(1, &group) == 0 && setgid(group) == 0 && setuid(POSTGRES_UID) == 0) {
    execve(POSTGRES_PROGRAM, arguments, environment);
  }
  dprintf(log, "agent: can not run " POSTGRES_PROGRAM ": %s\n", strerror(errno));
  _exit(127);
}

/* 0, and `pid` is a new postmaster whose log we read; or an errno. */
static int launch(char* const* settings, pid_t* pid) {
  int pipes[2];
  if (pipe2(pipes, O_CLOEXEC) < 0) return errno;
  *pid = fork();
  if (*pid == 0) become_postgres(settings, pipes[1]);
  int error = errno;
  close(pipes[1]);
  if (*pid < 0) {
    close(pipes[0]);
    return error;
  }
  if (log_pipe >= 0) close(log_pipe);
  log_pipe = pipes[0];
  fcntl(log_pipe, F_SETFL, O_NONBLOCK);
  return 0;
}

/* --- parked ------------------------------------------------------------------------------------
 * Half of what a start costs comes before the postmaster looks at its data: its program is read,
 * linked, and copied into huge pages. So a machine without data has one that has done that. Where
 * its configuration is to be, it finds a pipe that we keep open, and reads. When the data disk has
 * been mounted over that and we close the pipe, it has read an empty file. It reads the
 * configuration again, and all of it counts then: of the first time, only where the data are. */

static void end_parking(void) {
  if (parked_at >= 0) close(parked_at);
  parked_at = -1;
  parked = 0;
}

/* A folder with the pipe, in memory, where the data disk is to be. */
static bool make_parking_place(void) {
  struct stat status;
  if (stat(CONFIGURATION, &status) == 0) return S_ISFIFO(status.st_mode); /* of the last time */
  return mount("tmpfs", DATA_MOUNT, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755") == 0 &&
         mkdir(DATA_FOLDER, 0700) == 0 && mkfifo(CONFIGURATION, 0600) == 0 &&
         chown(DATA_FOLDER, POSTGRES_UID, POSTGRES_UID) == 0 &&
         chown(CONFIGURATION, POSTGRES_UID, POSTGRES_UID) == 0;
}

/* Returns when somebody has opened the configuration, or it took too long. */
static bool wait_for_reader(int opened) {
  struct pollfd event = {.fd = opened, .events = POLLIN};
  int64_t deadline = monotonic_ms() + PARKING_PATIENCE_MS;
  for (;;) {
    int64_t left = deadline - monotonic_ms();
    int count = left > 0 ? poll(&event, 1, (int)left) : 0;
    if (count >= 0 || errno != EINTR) return count > 0;
  }
}

void postgres_park(void) {
  static char* const no_settings[] = {NULL};
  if (postmaster || parked || data_mounted()) return;
  int opened = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  bool done = opened >= 0 && make_parking_place() &&
              (parked_at = open(CONFIGURATION, O_RDWR | O_CLOEXEC | O_NONBLOCK)) >= 0 &&
              inotify_add_watch(opened, CONFIGURATION, IN_OPEN) >= 0;
  if (done && (errno = launch(no_settings, &parked)) != 0) done = false;
  if (!done) {
    /* A start is slower without, and that is all. */
    log_line("park a postmaster: %s", strerror(errno));
    end_parking();
  } else if (!wait_for_reader(opened)) {
    log_line("the parked postmaster does not ask for its configuration");
    kill(parked, SIGKILL);
    end_parking();
  }
  if (opened >= 0) close(opened);
}

int postgres_start(char* const* settings) {
  if (postmaster) return EALREADY;
  if (!data_mounted()) return ENODEV;
  /* The postmaster writes its state into line 8 of its pid file: an event in place of polling. */
  if (watch >= 0) close(watch);
  watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (watch >= 0) inotify_add_watch(watch, DATA_FOLDER, IN_MODIFY | IN_ONLYDIR);
  if (parked && settings[0] == NULL) {
    postmaster = parked;
    end_parking();
    return 0;
  }
  if (parked) kill(parked, SIGKILL);
  end_parking();
  pid_t pid;
  int error = launch(settings, &pid);
  if (error == 0) postmaster = pid;
  return error;
}

void postgres_watch_ready(void) {
  char events[4096];
  while (read(watch, events, sizeof events) > 0) continue;
  char text[512];
  int fd = open(PID_FILE, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  if (length <= 0) return;
  text[length] = 0;
  /* Line 1 is the pid (of an earlier run, in the first moments), line 8 the state. */
  if (strtol(text, NULL, 10) != postmaster) return;
  const char* line = text;
  for (int number = 1; line && number < 8; number++) {
    line = strchr(line, '\n');
    if (line) line++;
  }
  if (!line || strncmp(line, "ready", 5) != 0) return;
  close(watch);
  watch = -1;
  memory_keep_huge_pages(false);
  frame_begin(0, SNOWGLOBE_POSTGRES_READY);
  frame_u32((uint32_t)postmaster);
  frame_end();
}

/* The log comes in pieces; a line is passed on when its end is there. */
void postgres_log_ready(void) {
  static char text[8192];
  static size_t length;
  for (;;) {
    ssize_t got = read(log_pipe, text + length, sizeof text - length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return;
    length += (size_t)got;
    char *start = text, *end;
    while ((end = memchr(start, '\n', length - (size_t)(start - text)))) {
      log_postgres(start, (size_t)(end - start));
      start = end + 1;
    }
    length -= (size_t)(start - text);
    memmove(text, start, length);
    if (length && (got == 0 || length == sizeof text)) {
      log_postgres(text, length); /* cut off, or longer than any sane line */
      length = 0;
    }
    if (got == 0) { /* the last process that had it is gone */
      close(log_pipe);
      log_pipe = -1;
      return;
    }
  }
}

bool postgres_exited(pid_t pid, int status) {
  if (parked && pid == parked) {
    log_line("the parked postmaster ended, wait status %d", status);
    end_parking();
    return true;
  }
  if (!postmaster || pid != postmaster) return false;
  postmaster = 0;
  if (log_pipe >= 0) postgres_log_ready(); /* its last words come first */
  if (watch >= 0) close(watch);
  watch = -1;
  if (stop_requested) {
    frame_begin(stop_id, SNOWGLOBE_OK);
  } else if (!machine_shutting_down()) {
    frame_begin(0, SNOWGLOBE_POSTGRES_EXITED);
  }
  if (stop_requested || !machine_shutting_down()) {
    frame_u32((uint32_t)status);
    frame_end();
  }
  stop_requested = false;
  machine_postgres_ended(status);
  return true;
}

void postgres_request_start(uint32_t id, struct reader* reader) {
  static char* settings[SNOWGLOBE_MAX_STRINGS + 1];
  read_list(reader, settings);
  bool sound = read_all(reader);
  for (size_t i = 0; settings[i]; i++) sound = sound && strchr(settings[i], '=');
  if (!sound) {
    send_error(id, EPROTO, "malformed START_POSTGRES");
    return;
  }
  int error = machine_shutting_down() ? ESHUTDOWN : postgres_start(settings);
  if (error) {
    send_error(id, error, "start PostgreSQL: %s", strerror(error));
  } else {
    send_ok(id);
  }
}

void postgres_request_stop(uint32_t id, struct reader* reader) {
  static const int signals[] = {SIGTERM, SIGINT, SIGQUIT};
  uint32_t how = read_u32(reader);
  if (!read_all(reader) || how > 2) {
    send_error(id, EPROTO, "malformed STOP_POSTGRES");
  } else if (!postmaster) {
    send_error(id, ESRCH, "PostgreSQL is not running");
  } else {
    /* A second, harder request takes the first one's place. */
    if (stop_requested) send_error(stop_id, ECANCELED, "another STOP_POSTGRES came");
    stop_requested = true;
    stop_id = id;
    memory_keep_huge_pages(true);
    kill(postmaster, signals[how]);
  }
}

/* The parent of a process, or -1. */
static pid_t parent_of(pid_t pid) {
  char path[32], text[512];
  snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  if (length <= 0) return -1;
  text[length] = 0;
  /* pid (name) state parent ...; the name may be anything. */
  const char* name_end = strrchr(text, ')');
  int parent;
  return name_end && sscanf(name_end, ") %*c %d", &parent) == 1 ? parent : -1;
}

void postgres_request_cancel(uint32_t id, struct reader* reader) {
  pid_t pid = (pid_t)read_u32(reader);
  if (!read_all(reader) || pid <= 1) {
    send_error(id, EPROTO, "malformed CANCEL_STATEMENT");
  } else if (!postmaster || parent_of(pid) != postmaster ||
             /* It leads a group, with what it has started. One signal: a second one might come when
              * it runs the next statement already. */
             (kill(-pid, SIGINT) < 0 && kill(pid, SIGINT) < 0)) {
    send_error(id, ESRCH, "PostgreSQL has no process %d", (int)pid);
  } else {
    send_ok(id);
  }
}
