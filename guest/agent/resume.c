/* guest/agent/resume.c - what a machine needs first in each of its lives: the time, randomness that
 * no other life of the same snapshot has, and PostgreSQL's knowledge that a new one began. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* What PostgreSQL's processes look at (guest/patches/postgresql-generations.patch has the same):
 * a file in memory that they have mapped, so that a change needs no signal and no system call. */
struct generation {
  uint32_t number;
  uint32_t secret;
  int64_t fixed_now; /* microseconds since 1970; 0: none */
};

static struct generation* generation;
static int entropy = -1; /* kept open: RESUME is what each restore waits for */

static bool add_entropy(const uint8_t* bytes, size_t length) {
  union {
    struct rand_pool_info info;
    uint8_t room[sizeof(struct rand_pool_info) + SNOWGLOBE_MAX_ENTROPY];
  } pool;
  pool.info.entropy_count = (int)length * 8;
  pool.info.buf_size = (int)length;
  memcpy(pool.info.buf, bytes, length);
  if (entropy < 0) entropy = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
  /* The first stirs and credits; only the second makes the generator take from the pool now. */
  return entropy >= 0 && ioctl(entropy, RNDADDENTROPY, &pool.info) == 0 &&
         ioctl(entropy, RNDRESEEDCRNG, NULL) == 0;
}

static bool set_clock(uint64_t nanoseconds) {
  struct timespec now = {.tv_sec = (time_t)(nanoseconds / 1000000000u),
                         .tv_nsec = (long)(nanoseconds % 1000000000u)};
  return clock_settime(CLOCK_REALTIME, &now) == 0;
}

bool generation_open(const char* path) {
  int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
  void* page = MAP_FAILED;
  /* Root's, so that not even PostgreSQL's superuser can write or shorten it; to be read by none but
   * PostgreSQL's group. */
  if (fd >= 0 && ftruncate(fd, sizeof *generation) == 0 && fchmod(fd, 0440) == 0 &&
      (getuid() != 0 || fchown(fd, 0, POSTGRES_UID) == 0)) {
    page = mmap(NULL, sizeof *generation, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  }
  if (fd >= 0) close(fd);
  if (page == MAP_FAILED) return false;
  generation = page;
  return true;
}

void resume_set_clock(uint32_t id, struct reader* reader) {
  uint64_t nanoseconds = read_u64(reader);
  if (!read_all(reader)) {
    send_error(id, EPROTO, "malformed SET_CLOCK");
    return;
  }
  send_outcome(id, set_clock(nanoseconds), "set the clock");
}

void resume_reseed(uint32_t id, struct reader* reader) {
  if (reader->left < 1 || reader->left > SNOWGLOBE_MAX_ENTROPY) {
    send_error(id, EPROTO, "malformed RESEED");
    return;
  }
  send_outcome(id, add_entropy(reader->at, reader->left), "reseed");
}

void resume_request(uint32_t id, struct reader* reader) {
  uint64_t clock = read_u64(reader), fixed_now = read_u64(reader);
  uint32_t secret = read_u32(reader);
  uint64_t device = read_u64(reader), disk_limit = read_u64(reader);
  static const uint8_t no_address[6];
  uint8_t address[6];
  read_bytes(reader, address, sizeof address);
  if (reader->bad || reader->left < SNOWGLOBE_RESUME_ENTROPY ||
      reader->left > SNOWGLOBE_MAX_ENTROPY) {
    send_error(id, EPROTO, "malformed RESUME");
  } else if (!generation) {
    send_error(id, ENXIO, "there is no generation file");
  } else if (!add_entropy(reader->at, reader->left)) {
    send_error(id, errno, "reseed: %s", strerror(errno));
  } else if (clock != 0 && !set_clock(clock)) {
    send_error(id, errno, "set the clock: %s", strerror(errno));
  } else if (memcmp(address, no_address, sizeof address) != 0 &&
             !machine_hardware_address(address)) {
    send_error(id, errno, "set the hardware address: %s", strerror(errno));
  } else {
    data_keep_size(device, disk_limit);
    /* In one store each, and the number last: whoever sees it finds all else in place. */
    __atomic_store_n(&generation->fixed_now, (int64_t)(fixed_now / 1000), __ATOMIC_RELAXED);
    __atomic_store_n(&generation->secret, secret, __ATOMIC_RELAXED);
    __atomic_store_n(&generation->number, generation->number + 1, __ATOMIC_RELEASE);
    send_ok(id);
  }
}
