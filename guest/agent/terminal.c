/* guest/agent/terminal.c - terminals for programs that want one, and who leads their sessions. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TTY_GROUP 5

bool terminal_size_ok(uint32_t rows, uint32_t columns) {
  return rows <= UINT16_MAX && columns <= UINT16_MAX;
}

void terminal_resize(int fd, uint32_t rows, uint32_t columns) {
  struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
  ioctl(fd, TIOCSWINSZ, &size);
}

bool terminal_open(uint32_t rows, uint32_t columns, uint32_t uid, int ends[3][2]) {
  int locked = 0;
  ends[1][0] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (ends[1][0] < 0 || ioctl(ends[1][0], TIOCSPTLCK, &locked) < 0) return false;
  terminal_resize(ends[1][0], rows, columns);
  ends[0][0] = ioctl(ends[1][0], TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (ends[0][0] < 0) return false;
  /* Its user may open it by name as well. Not on a host where we are not root. */
  if (fchown(ends[0][0], uid, TTY_GROUP) < 0 && getuid() == 0) return false;
  ends[0][1] = fcntl(ends[1][0], F_DUPFD_CLOEXEC, 0);
  ends[1][1] = fcntl(ends[0][0], F_DUPFD_CLOEXEC, 0);
  ends[2][1] = fcntl(ends[0][0], F_DUPFD_CLOEXEC, 0);
  return ends[0][1] >= 0 && ends[1][1] >= 0 && ends[2][1] >= 0;
}

/* Ends as the program has ended. */
_Noreturn static void end_as(int status) {
  if (WIFSIGNALED(status)) {
    sigset_t none;
    sigemptyset(&none);
    signal(WTERMSIG(status), SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    raise(WTERMSIG(status));
  }
  _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 127);
}

/* The end of a session's leader hangs its terminal up, and the kernel then throws away what nobody
 * has read yet of a program's last words. So a process of ours leads, and ends when `ours` has been
 * read empty. Signals to its group are for the program: it takes none of them. */
_Noreturn static void lead(pid_t program, int ours) {
  int status;
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, NULL);
  dup2(ours, 3);
  close_range(4, ~0u, 0); /* else other programs' pipes would never end */
  while (waitpid(program, &status, 0) < 0 && errno == EINTR) continue;
  struct pollfd unread = {.fd = 3, .events = POLLIN};
  while (poll(&unread, 1, 0) > 0 && unread.revents & POLLIN) {
    struct timespec moment = {.tv_nsec = 1000000};
    nanosleep(&moment, NULL);
  }
  end_as(status);
}

bool terminal_lead(int ours, int failure) {
  /* In both: neither may miss a signal, or be stopped by one, before it is what it is to be. */
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, NULL);
  if (ioctl(0, TIOCSCTTY, 0) < 0) return false;
  pid_t program = fork();
  if (program < 0) return false;
  if (program == 0) return true;
  close(failure);
  lead(program, ours);
}
