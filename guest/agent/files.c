/* guest/agent/files.c - PUT and GET: regular files from and to the host. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool write_text(const char* path, const char* text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t length = (ssize_t)strlen(text);
  bool done = write(fd, text, (size_t)length) == length;
  close(fd);
  return done;
}

/* Nothing of a file that is given up may be there when the host reads the answer. */
static void put_remove_work(struct request* request) {
  if (request->put.work_path) unlink(request->put.work_path);
}

static void put_finish(struct request* request) {
  if (request->put.fd >= 0) close(request->put.fd);
  put_remove_work(request);
  free(request->put.path);
  free(request->put.work_path);
  request_close(request);
}

static void put_fail(struct request* request, int error, const char* step) {
  put_remove_work(request);
  send_error(request->id, error, "%s: %s: %s", request->put.path ? request->put.path : "PUT", step,
             strerror(error));
  put_finish(request);
}

void put_start(uint32_t id, struct reader* reader) {
  const char* path = read_string(reader);
  uint32_t mode = read_u32(reader), uid = read_u32(reader), gid = read_u32(reader);
  if (!read_all(reader) || path[0] == 0 || mode & ~07777u) {
    send_error(id, EPROTO, "malformed PUT");
    return;
  }
  struct request* request = request_open(id, PUT_REQUEST);
  if (!request) return;
  request->put.fd = -1;
  request->put.mode = mode;
  request->put.uid = uid;
  request->put.gid = gid;
  struct stat status;
  request->put.path = strdup(path);
  char* work = NULL;
  if (request->put.path && asprintf(&work, "%s.snowglobe-XXXXXX", path) < 0) work = NULL;
  if (!work) {
    put_fail(request, ENOMEM, "remember the path");
  } else if (stat(path, &status) == 0 && !S_ISREG(status.st_mode)) {
    free(work);
    put_fail(request, S_ISDIR(status.st_mode) ? EISDIR : EINVAL, "replace");
  } else if ((request->put.fd = mkostemp(work, O_CLOEXEC)) < 0) {
    int error = errno;
    free(work);
    put_fail(request, error, "create");
  } else {
    request->put.work_path = work;
  }
}

static void put_end(struct request* request) {
  if (fchown(request->put.fd, request->put.uid, request->put.gid) < 0 ||
      fchmod(request->put.fd, request->put.mode) < 0) {
    put_fail(request, errno, "set owner and mode");
  } else if (rename(request->put.work_path, request->put.path) < 0) {
    put_fail(request, errno, "put in place");
  } else {
    free(request->put.work_path);
    request->put.work_path = NULL;
    frame_begin(request->id, SNOWGLOBE_OK);
    frame_u64(request->put.size);
    frame_end();
    put_finish(request);
  }
}

void put_continue(struct request* request, uint16_t type, const uint8_t* payload, size_t length) {
  if (type == SNOWGLOBE_CANCEL) {
    put_fail(request, ECANCELED, "write");
  } else if (type != SNOWGLOBE_DATA) {
    put_fail(request, EPROTO, "a frame that PUT does not know");
  } else if (length == 0) {
    put_end(request);
  }
  for (size_t done = 0; request->kind == PUT_REQUEST && done < length;) {
    ssize_t written = write(request->put.fd, payload + done, length - done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      put_fail(request, written ? errno : EIO, "write");
      return;
    }
    done += (size_t)written;
    request->put.size += (uint64_t)written;
  }
}

void get_start(uint32_t id, struct reader* reader) {
  const char* path = read_string(reader);
  uint64_t offset = read_u64(reader), limit = read_u64(reader);
  if (!read_all(reader) || path[0] == 0 || offset > INT64_MAX) {
    send_error(id, EPROTO, "malformed GET");
    return;
  }
  /* Not blocking, so that opening a named pipe does not hang; it is refused below. */
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  struct stat status;
  int error = 0;
  if (fd < 0 || fstat(fd, &status) < 0) {
    error = errno;
  } else if (!S_ISREG(status.st_mode)) {
    error = S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
  } else if (lseek(fd, (off_t)offset, SEEK_SET) < 0) {
    error = errno;
  }
  struct request* request = NULL;
  if (error) {
    send_error(id, error, "%s: %s", path, strerror(error));
  } else {
    request = request_open(id, GET_REQUEST);
  }
  if (!request) {
    if (fd >= 0) close(fd);
    return;
  }
  request->get.fd = fd;
  request->get.left = limit;
  request->get.size = (uint64_t)status.st_size;
  request->get.mode = status.st_mode & 07777;
  get_pump(request);
}

static void get_finish(struct request* request) {
  close(request->get.fd);
  request_close(request);
}

void get_continue(struct request* request, uint16_t type) {
  send_error(request->id, type == SNOWGLOBE_CANCEL ? ECANCELED : EPROTO, "GET given up");
  get_finish(request);
}

void get_pump(struct request* request) {
  static uint8_t bytes[32768];
  while (port_room() >= ROOM_FOR_STREAMS) {
    size_t want = request->get.left < sizeof bytes ? (size_t)request->get.left : sizeof bytes;
    ssize_t got = want ? read(request->get.fd, bytes, want) : 0;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      send_error(request->id, errno, "read: %s", strerror(errno));
      get_finish(request);
      return;
    }
    if (got == 0) {
      frame_begin(request->id, SNOWGLOBE_OK);
      frame_u64(request->get.sent);
      frame_u64(request->get.size);
      frame_u32(request->get.mode);
      frame_end();
      get_finish(request);
      return;
    }
    frame_begin(request->id, SNOWGLOBE_DATA);
    frame_bytes(bytes, (size_t)got);
    frame_end();
    request->get.sent += (uint64_t)got;
    request->get.left -= (uint64_t)got;
  }
}
