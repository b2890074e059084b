/* guest/agent/exec.c - EXEC: programs run for the host, their pipes and their end. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void close_pipe(int* fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

static void nonblocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

struct program {
  uint32_t uid, gid;
  bool terminal;
  uint32_t rows, columns;
  const char* directory;
  char* const* arguments;
  char* const* environment;
};

/* In the child. Tells through `failure` what went wrong: the errno and a letter for the step. */
_Noreturn static void become(const struct program* program, int ends[3][2], int failure) {
  int step = 'i';
  sigset_t none;
  sigemptyset(&none);
  signal(SIGPIPE, SIG_DFL);
  setsid();
  if (dup2(ends[0][0], 0) < 0 || dup2(ends[1][1], 1) < 0 || dup2(ends[2][1], 2) < 0) goto failed;
  step = 't';
  if (program->terminal && !terminal_lead(ends[1][0], failure)) goto failed;
  sigprocmask(SIG_SETMASK, &none, NULL);
  step = 'd';
  if (chdir(program->directory) < 0) goto failed;
  step = 'u';
  gid_t group = program->gid;
  if (setgroups(1, &group) < 0 || setgid(group) < 0 || setuid(program->uid) < 0) goto failed;
  step = 'x';
  if (program->environment[0]) {
    execvpe(program->arguments[0], program->arguments, program->environment);
  } else {
    execvp(program->arguments[0], program->arguments);
  }
failed:;
  int report[2] = {errno, step};
  ssize_t ignored = write(failure, report, sizeof report);
  (void)ignored;
  _exit(127);
}

/* Starts `program` at the ends of its pipes or terminal; returns its pid, or -1 with errno and
 * *step set. */
static pid_t spawn(const struct program* program, int ends[3][2], const char** step) {
  int failure[2];
  *step = "make a pipe";
  if (pipe2(failure, O_CLOEXEC) < 0) return -1;
  *step = "start a process";
  pid_t pid = fork();
  if (pid == 0) become(program, ends, failure[1]);
  int error = errno;
  close(failure[1]);
  if (pid > 0) {
    int report[2];
    ssize_t length;
    do length = read(failure[0], report, sizeof report);
    while (length < 0 && errno == EINTR);
    if (length == sizeof report) {
      /* The zombie is collected like every other child. */
      pid = -1;
      error = report[0];
      *step = report[1] == 'd'   ? "enter the directory"
              : report[1] == 'u' ? "change to the user"
              : report[1] == 'x' ? "run the program"
              : report[1] == 't' ? "control the terminal"
                                 : "set up the program";
    }
  }
  close(failure[0]);
  errno = error;
  return pid;
}

/* Theirs and ours: [0][0], [1][1] and [2][1] are the program's. With a terminal there is one of
 * each, but ours for its standard error, which is the same. */
static bool make_ends(const struct program* program, int ends[3][2]) {
  if (program->terminal) {
    return terminal_open(program->rows, program->columns, program->uid, ends);
  }
  return pipe2(ends[0], O_CLOEXEC) == 0 && pipe2(ends[1], O_CLOEXEC) == 0 &&
         pipe2(ends[2], O_CLOEXEC) == 0;
}

void exec_start(uint32_t id, struct reader* reader) {
  static char* arguments[SNOWGLOBE_MAX_STRINGS + 1];
  static char* environment[SNOWGLOBE_MAX_STRINGS + 1];
  struct program program = {.arguments = arguments, .environment = environment};
  program.uid = read_u32(reader);
  program.gid = read_u32(reader);
  uint32_t timeout = read_u32(reader), flags = read_u32(reader);
  program.directory = read_string(reader);
  size_t count = read_list(reader, arguments);
  read_list(reader, environment);
  program.terminal = flags & SNOWGLOBE_EXEC_TERMINAL;
  if (program.terminal) {
    program.rows = read_u32(reader);
    program.columns = read_u32(reader);
  }
  if (!read_all(reader) || count == 0 ||
      flags & ~(uint32_t)(SNOWGLOBE_EXEC_STDIN | SNOWGLOBE_EXEC_TERMINAL) ||
      !terminal_size_ok(program.rows, program.columns)) {
    send_error(id, EPROTO, "malformed EXEC");
    return;
  }
  struct request* request = request_open(id, EXEC_REQUEST);
  if (!request) return;
  int ends[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
  const char* step = program.terminal ? "make a terminal" : "make a pipe";
  pid_t pid = -1;
  if (make_ends(&program, ends)) pid = spawn(&program, ends, &step);
  int error = errno;
  close_pipe(&ends[0][0]);
  close_pipe(&ends[1][1]);
  close_pipe(&ends[2][1]);
  if (pid < 0) {
    close_pipe(&ends[0][1]);
    close_pipe(&ends[1][0]);
    close_pipe(&ends[2][0]);
    send_error(id, error, "%s: %s: %s", arguments[0], step, strerror(error));
    request_close(request);
    return;
  }
  request->exec.pid = pid;
  request->exec.terminal = program.terminal;
  request->exec.in = ends[0][1];
  request->exec.out = ends[1][0];
  request->exec.err = ends[2][0];
  request->exec.deadline = timeout ? monotonic_ms() + timeout : 0;
  nonblocking(request->exec.in);
  nonblocking(request->exec.out);
  if (request->exec.err >= 0) nonblocking(request->exec.err);
  request->exec.stdin_closing = !(flags & SNOWGLOBE_EXEC_STDIN);
  exec_pump(request);
}

/* Frees all and lets the program's group go (it is killed if it still runs). */
static void finish(struct request* request) {
  close_pipe(&request->exec.in);
  close_pipe(&request->exec.out);
  close_pipe(&request->exec.err);
  free(request->exec.stdin_bytes);
  request_close(request);
}

static void break_off(struct request* request, const char* why) {
  uint32_t id = request->id;
  if (!request->exec.exited) kill(-request->exec.pid, SIGKILL);
  finish(request);
  send_error(id, EPROTO, "%s", why);
}

static void take_stdin(struct request* request, const uint8_t* payload, size_t length) {
  if (length == 0) {
    request->exec.stdin_closing = true;
  } else if (request->exec.in >= 0) {
    size_t used = request->exec.stdin_start + request->exec.stdin_length;
    if (length > SNOWGLOBE_STDIN_WINDOW - request->exec.stdin_length) {
      break_off(request, "more stdin than the window allows");
      return;
    }
    if (!request->exec.stdin_bytes) {
      request->exec.stdin_bytes = malloc(SNOWGLOBE_STDIN_WINDOW);
      if (!request->exec.stdin_bytes) {
        break_off(request, "no memory for stdin");
        return;
      }
    }
    uint8_t* bytes = request->exec.stdin_bytes;
    if (length > SNOWGLOBE_STDIN_WINDOW - used) {
      memmove(bytes, bytes + request->exec.stdin_start, request->exec.stdin_length);
      request->exec.stdin_start = 0;
    }
    memcpy(bytes + request->exec.stdin_start + request->exec.stdin_length, payload, length);
    request->exec.stdin_length += length;
  } else {
    request->exec.stdin_taken += (uint32_t)length; /* the program has closed it: all is taken */
  }
  exec_pump(request);
}

void exec_continue(struct request* request, uint16_t type, const uint8_t* payload, size_t length) {
  struct reader reader = wire_reader(payload, length);
  if (type == SNOWGLOBE_STDIN) {
    take_stdin(request, payload, length);
  } else if (type == SNOWGLOBE_SIGNAL) {
    int signal = (int)read_u32(&reader);
    if (!read_all(&reader) || signal < 1 || signal > 64) {
      break_off(request, "malformed SIGNAL");
    } else if (!request->exec.exited) {
      kill(-request->exec.pid, signal);
    }
  } else if (type == SNOWGLOBE_RESIZE && request->exec.terminal) {
    uint32_t rows = read_u32(&reader), columns = read_u32(&reader);
    if (!read_all(&reader) || !terminal_size_ok(rows, columns)) {
      break_off(request, "malformed RESIZE");
    } else if (request->exec.out >= 0) {
      terminal_resize(request->exec.out, rows, columns);
    }
  } else {
    break_off(request, "a frame that EXEC does not know");
  }
}

size_t exec_poll(const struct request* request, struct pollfd* fds) {
  size_t count = 0;
  if (request->exec.in >= 0 && (request->exec.stdin_length || request->exec.stdin_closing)) {
    fds[count++] = (struct pollfd){.fd = request->exec.in, .events = POLLOUT};
  }
  if (port_room() >= ROOM_FOR_STREAMS) {
    if (request->exec.out >= 0) {
      fds[count++] = (struct pollfd){.fd = request->exec.out, .events = POLLIN};
    }
    if (request->exec.err >= 0) {
      fds[count++] = (struct pollfd){.fd = request->exec.err, .events = POLLIN};
    }
  }
  return count;
}

static void pump_stdin(struct request* request) {
  while (request->exec.in >= 0 && request->exec.stdin_length) {
    ssize_t written = write(request->exec.in, request->exec.stdin_bytes + request->exec.stdin_start,
                            request->exec.stdin_length);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EAGAIN) break;
    if (written < 0) { /* EPIPE: nobody reads any more */
      written = (ssize_t)request->exec.stdin_length;
      close_pipe(&request->exec.in);
    }
    request->exec.stdin_start += (size_t)written;
    request->exec.stdin_length -= (size_t)written;
    request->exec.stdin_taken += (uint32_t)written;
    if (request->exec.stdin_length == 0) request->exec.stdin_start = 0;
  }
  if (request->exec.stdin_closing && request->exec.stdin_length == 0) {
    static const char end_of_file = 4; /* ^D: a terminal has no other end, and may be read on */
    if (request->exec.terminal && request->exec.in >= 0) {
      ssize_t written = write(request->exec.in, &end_of_file, 1);
      if (written < 0 && (errno == EINTR || errno == EAGAIN)) return;
    }
    close_pipe(&request->exec.in);
  }
  /* Large steps, or all at the end: not a frame for each line that `cat` reads. */
  bool drained = request->exec.stdin_length == 0;
  if (request->exec.stdin_taken && (drained || request->exec.stdin_taken >= 16384)) {
    frame_begin(request->id, SNOWGLOBE_STDIN_TAKEN);
    frame_u32(request->exec.stdin_taken);
    frame_end();
    request->exec.stdin_taken = 0;
  }
}

/* Passes on what is in a pipe; `left` bounds it once the program has ended. */
static void pump_output(struct request* request, int* fd, enum snowglobe_type type, size_t* left) {
  static uint8_t bytes[32768];
  while (*fd >= 0 && port_room() >= ROOM_FOR_STREAMS) {
    size_t want = sizeof bytes;
    if (request->exec.exited && want > *left) want = *left;
    ssize_t got = want ? read(*fd, bytes, want) : 0;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN && !request->exec.exited) return;
    if (got <= 0) {
      close_pipe(fd);
      return;
    }
    frame_begin(request->id, type);
    frame_bytes(bytes, (size_t)got);
    frame_end();
    if (request->exec.exited) *left -= (size_t)got;
  }
}

void exec_pump(struct request* request) {
  pump_stdin(request);
  pump_output(request, &request->exec.out, SNOWGLOBE_STDOUT, &request->exec.out_left);
  pump_output(request, &request->exec.err, SNOWGLOBE_STDERR, &request->exec.err_left);
  if (request->exec.exited && request->exec.out < 0 && request->exec.err < 0) {
    frame_begin(request->id, SNOWGLOBE_OK);
    frame_u32((uint32_t)request->exec.status);
    frame_u32(request->exec.timed_out);
    frame_end();
    finish(request);
  }
}

static size_t bytes_in_pipe(int fd) {
  int available = 0;
  if (fd < 0 || ioctl(fd, FIONREAD, &available) < 0 || available < 0) return 0;
  return (size_t)available;
}

bool exec_exited(pid_t pid, int status) {
  for (size_t i = 0; i < SNOWGLOBE_MAX_OPEN; i++) {
    struct request* request = &requests[i];
    if (request->kind != EXEC_REQUEST || request->exec.pid != pid || request->exec.exited) {
      continue;
    }
    request->exec.exited = true;
    request->exec.status = status;
    request->exec.deadline = 0;
    request->exec.out_left = bytes_in_pipe(request->exec.out);
    request->exec.err_left = bytes_in_pipe(request->exec.err);
    close_pipe(&request->exec.in);
    exec_pump(request);
    return true;
  }
  return false;
}

int64_t exec_deadlines(int64_t now) {
  int64_t next = 0;
  for (size_t i = 0; i < SNOWGLOBE_MAX_OPEN; i++) {
    struct request* request = &requests[i];
    if (request->kind != EXEC_REQUEST || !request->exec.deadline) continue;
    if (request->exec.deadline <= now) {
      request->exec.timed_out = true;
      request->exec.deadline = 0;
      kill(-request->exec.pid, SIGKILL);
    } else if (!next || request->exec.deadline < next) {
      next = request->exec.deadline;
    }
  }
  return next;
}
