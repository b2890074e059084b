/* guest/agent/port.c - the virtio console port to the host: finding it, framing, the queue out. */
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int port = -1;
static bool host_gone; /* polled HUP: quiet until SIGIO says that the host is back */

/* What is to be sent: a ring, so that no frame needs memory that may not be there. */
static uint8_t queue[512 * 1024];
static size_t queue_start, queue_length;

/* The frame that is being received. `skipping` counts down a payload that was too long. */
static uint8_t incoming[SNOWGLOBE_HEADER_SIZE + SNOWGLOBE_MAX_PAYLOAD];
static size_t incoming_length;
static uint32_t skipping;

static bool name_matches(const char* folder) {
  char path[320], name[64];
  snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", folder);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t length = read(fd, name, sizeof name - 1);
  close(fd);
  if (length <= 0) return false;
  name[length] = 0;
  name[strcspn(name, "\n")] = 0;
  return strcmp(name, SNOWGLOBE_PORT_NAME) == 0;
}

bool port_open(void) {
  if (port >= 0) return true;
  DIR* folder = opendir("/sys/class/virtio-ports");
  if (!folder) return false;
  struct dirent* entry;
  while (port < 0 && (entry = readdir(folder))) {
    if (entry->d_name[0] == '.' || !name_matches(entry->d_name)) continue;
    char path[280];
    snprintf(path, sizeof path, "/dev/%s", entry->d_name);
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) continue;
    /* SIGIO when the host opens or closes its end: poll alone would spin on HUP meanwhile. */
    fcntl(fd, F_SETOWN, getpid());
    fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK | O_ASYNC);
    port = fd;
  }
  closedir(folder);
  return port >= 0;
}

void port_use(int fd) {
  port = fd;
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

int port_descriptor(void) { return host_gone ? -1 : port; }
void port_changed(void) { host_gone = false; }
size_t port_room(void) { return sizeof queue - queue_length; }

short port_events(void) {
  int events = 0;
  if (port_room() >= ROOM_FOR_REQUESTS) events |= POLLIN;
  if (queue_length) events |= POLLOUT;
  return (short)events;
}

static void write_queue(void) {
  while (queue_length) {
    size_t piece = sizeof queue - queue_start;
    if (piece > queue_length) piece = queue_length;
    ssize_t written = write(port, queue + queue_start, piece);
    if (written <= 0) {
      if (written < 0 && errno == EINTR) continue;
      return; /* EAGAIN: poll tells; anything else: the host is gone, poll says HUP */
    }
    queue_start = (queue_start + (size_t)written) % sizeof queue;
    queue_length -= (size_t)written;
  }
  queue_start = 0; /* keeps the ring's pages few */
}

void port_send(const uint8_t* bytes, size_t length) {
  if (length > port_room()) return; /* can not be: whoever sends much asks port_room first */
  size_t end = (queue_start + queue_length) % sizeof queue;
  size_t piece = sizeof queue - end;
  if (piece > length) piece = length;
  memcpy(queue + end, bytes, piece);
  memcpy(queue, bytes + piece, length - piece);
  bool idle = queue_length == 0;
  queue_length += length;
  if (idle && port >= 0 && !host_gone) write_queue();
}

static uint32_t field(size_t offset) {
  uint32_t value;
  memcpy(&value, incoming + offset, sizeof value);
  return value;
}

/* Works off complete frames; stops early when there is no room for answers. */
static void take_frames(void) {
  size_t start = 0;
  while (incoming_length - start >= SNOWGLOBE_HEADER_SIZE && port_room() >= ROOM_FOR_REQUESTS) {
    uint32_t length = field(start), id = field(start + 4), type = field(start + 8);
    size_t have = incoming_length - start - SNOWGLOBE_HEADER_SIZE;
    if (length > SNOWGLOBE_MAX_PAYLOAD) {
      send_error(id, EPROTO, "a frame of %u bytes; the bound is %u", length, SNOWGLOBE_MAX_PAYLOAD);
      size_t skipped = have < length ? have : length;
      skipping = length - (uint32_t)skipped;
      start += SNOWGLOBE_HEADER_SIZE + skipped;
      continue;
    }
    if (have < length) break;
    request_frame(id, (uint16_t)type, (uint16_t)(type >> 16),
                  incoming + start + SNOWGLOBE_HEADER_SIZE, length);
    start += SNOWGLOBE_HEADER_SIZE + length;
  }
  incoming_length -= start;
  memmove(incoming, incoming + start, incoming_length);
}

static void receive(void) {
  while (port_room() >= ROOM_FOR_REQUESTS) {
    take_frames();
    if (incoming_length == sizeof incoming) return; /* no room for the answer yet */
    size_t want = sizeof incoming - incoming_length;
    if (skipping && want > skipping) want = skipping;
    ssize_t got = read(port, incoming + incoming_length, want);
    if (got < 0 && errno == EINTR) continue;
    if (got == 0) host_gone = true;
    if (got <= 0) return;
    if (skipping) {
      skipping -= (uint32_t)got; /* nothing is buffered while a payload is skipped */
    } else {
      incoming_length += (size_t)got;
    }
  }
}

void port_ready(short revents) {
  if (revents & POLLOUT) write_queue();
  if (revents & POLLIN) receive();
  if (revents & (POLLHUP | POLLERR) && !(revents & POLLIN)) host_gone = true;
  /* Frames that waited for room in the queue. */
  if (incoming_length) take_frames();
}

void port_drain(void) {
  if (port < 0 || host_gone) return;
  int64_t deadline = monotonic_ms() + 1000;
  while (queue_length && monotonic_ms() < deadline) {
    struct pollfd one = {.fd = port, .events = POLLOUT};
    if (poll(&one, 1, 100) > 0 && one.revents & POLLHUP) return;
    write_queue();
  }
}
