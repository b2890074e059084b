/* guest/agent/data.c - the data disk: mounted and unmounted, grown, and limited to what it is to
 * seem. */
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

/* From fs/ext4/ext4.h; the kernel does not export it. */
#define EXT4_IOC_RESIZE_FS _IOW('f', 16, uint64_t)
/* What files with FS_UNRM_FL may use and others not (guest/patches/linux-ext4-reserve.patch). */
#define RESERVE_FILE "/sys/fs/ext4/vdb/reserved_clusters"
/* For PostgreSQL's log (max_wal_size is 128 MB, which it passes for a while; replication slots keep
 * max_slot_wal_keep_size, 512 MB), its books, and tables' maps. */
#define RESERVE_BYTES (1024ull << 20)
/* Of ext4's superblock: where it is on the disk, and its first two fields. */
#define SUPERBLOCK 1024
struct superblock {
  uint32_t inodes, blocks;
};
/* How long the kernel may take to learn of a disk's new size. */
#define CAPACITY_PATIENCE_MS 2000

static bool mounted;
static uint64_t present_limit, present_device;
static bool settled; /* the file system is as these two say */

bool data_mounted(void) { return mounted; }

static uint64_t device_bytes(void) {
  int disk = open(DATA_DISK, O_RDONLY | O_CLOEXEC);
  uint64_t bytes = 0;
  if (disk >= 0 && ioctl(disk, BLKGETSIZE64, &bytes) < 0) bytes = 0;
  if (disk >= 0) close(disk);
  return bytes;
}

/* The device tells its size by an interrupt, and a thread of the kernel takes it up. */
static bool wait_for_capacity(uint64_t wanted) {
  int64_t deadline = monotonic_ms() + CAPACITY_PATIENCE_MS;
  while (wanted != 0 && device_bytes() != wanted) {
    struct timespec moment = {.tv_nsec = 1000000};
    if (monotonic_ms() >= deadline) {
      errno = ETIMEDOUT;
      return false;
    }
    nanosleep(&moment, NULL);
  }
  return true;
}

/* What the kernel remembers of a disk may be another disk's. */
static bool forget_disk(void) {
  int disk = open(DATA_DISK, O_RDONLY | O_CLOEXEC);
  if (disk < 0) return false;
  bool done = ioctl(disk, BLKFLSBUF, NULL) == 0;
  int error = errno;
  close(disk);
  errno = error;
  return done;
}

/* --- the reserve ------------------------------------------------------------------------------ */

static bool mark_file(const char* path) {
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
  int flags;
  if (fd < 0) return false;
  bool done = ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0;
  flags |= FS_UNRM_FL;
  done = done && ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0;
  close(fd);
  return done;
}

static bool is_marked(const char* path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  int flags = 0;
  if (fd < 0) return false;
  bool marked = ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && flags & FS_UNRM_FL;
  close(fd);
  return marked;
}

/* Tables and what users put on the disk must do without the reserve, */
static bool holds_tables(const char* name) {
  return strcmp(name, "base") == 0 || strcmp(name, "pg_tblspc") == 0;
}

/* but for their maps, which the kernel marks itself where it makes them. */
static bool is_map(const char* name) {
  const char* kind = strrchr(name, '_');
  return kind && (strcmp(kind, "_vm") == 0 || strcmp(kind, "_fsm") == 0);
}

/* Marks all in a folder, or the maps of tables alone; itself after what is in it: one that is
 * marked has been done whole. */
static bool mark_folder(const char* path, unsigned depth, bool maps_alone) {
  DIR* folder = opendir(path);
  if (!folder) return false;
  bool done = true;
  struct dirent* entry;
  while ((entry = readdir(folder))) {
    char inner[512];
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    bool maps = maps_alone || (depth == 0 && holds_tables(entry->d_name));
    int length = snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
    if (length < 0 || (size_t)length >= sizeof inner) continue;
    if (entry->d_type == DT_REG && (!maps || is_map(entry->d_name)))
      done = mark_file(inner) && done;
    if (entry->d_type == DT_DIR && depth < 4) done = mark_folder(inner, depth + 1, maps) && done;
  }
  closedir(folder);
  return done && (maps_alone || mark_file(path));
}

/* Once in the life of a disk: new files take the mark from their folder. */
static void mark_reserve_users(void) {
  if (access(DATA_FOLDER, F_OK) < 0 || is_marked(DATA_FOLDER)) return;
  if (!mark_folder(DATA_FOLDER, 0, false)) log_line("mark " DATA_FOLDER ": %s", strerror(errno));
}

/* --- size ------------------------------------------------------------------------------------- */

/* Of the file system; the kernel keeps what the disk's cache has of it in step. 0: not to be seen.
 */
static uint64_t present_blocks(void) {
  struct superblock found = {0};
  int disk = open(DATA_DISK, O_RDONLY | O_CLOEXEC);
  bool done = disk >= 0 && pread(disk, &found, sizeof found, SUPERBLOCK) == sizeof found;
  if (disk >= 0) close(disk);
  return done ? found.blocks : 0;
}

/* Grows the file system to the whole of the disk. */
static bool grow(void) {
  int folder = open(DATA_MOUNT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  struct statfs status;
  bool done = folder >= 0 && fstatfs(folder, &status) == 0;
  if (done) {
    uint64_t blocks = present_device / (uint64_t)status.f_bsize;
    if (blocks > present_blocks()) done = ioctl(folder, EXT4_IOC_RESIZE_FS, &blocks) == 0;
  }
  int error = errno;
  if (folder >= 0) close(folder);
  errno = error;
  return done;
}

/* All that lies above the limit is reserve. */
static bool set_reserve(uint64_t limit, struct data_size* size) {
  char text[24];
  struct statfs status;
  if (statfs(DATA_MOUNT, &status) < 0) return false;
  uint64_t block = (uint64_t)status.f_bsize, blocks = (uint64_t)status.f_blocks;
  uint64_t reserve = blocks / 5;
  if (reserve > RESERVE_BYTES / block) reserve = RESERVE_BYTES / block;
  if (limit != 0 && limit / block < blocks - reserve) reserve = blocks - limit / block;
  snprintf(text, sizeof text, "%" PRIu64, reserve);
  size->bytes = block * (blocks - reserve);
  size->used = block * (blocks - (uint64_t)status.f_bfree);
  return write_text(RESERVE_FILE, text);
}

/* Both of the above; NULL or what failed (errno says why). What failed is done again when the
 * machine wakes the next time. */
static const char* settle(uint64_t limit, struct data_size* size) {
  settled = false;
  present_limit = limit;
  present_device = device_bytes();
  if (!grow()) return "grow the data disk's file system";
  if (!set_reserve(limit, size)) return "set the data disk's reserve";
  settled = true;
  return NULL;
}

static bool mount_once(void) {
  /* noinit_itable: the inode tables of the image are zero as they are; no thread need see to it.
   * discard: what is deleted is the host's again, and snapshots and files do not carry it along. */
  return mount(DATA_DISK, DATA_MOUNT, "ext4", MS_NOSUID | MS_NODEV | MS_NOATIME,
               "noinit_itable,discard") == 0;
}

/* Linux counts the groups before it replays the journal, and not again: a machine that was killed
 * while its file system grew would go on with too few, and panic when it grows again
 * (ext4_flex_group_add). The second time it counts right. */
static bool mount_disk(void) {
  uint64_t before = present_blocks();
  if (!mount_once()) return false;
  if (present_blocks() == before) return true;
  return umount(DATA_MOUNT) == 0 && mount_once();
}

const char* data_mount(uint64_t limit, struct data_size* size) {
  if (!mount_disk()) return "mount the data disk (" DATA_DISK ")";
  mounted = true;
  mark_reserve_users();
  return settle(limit, size);
}

void data_keep_size(uint64_t device, uint64_t limit) {
  struct data_size size;
  bool as_before = limit == present_limit && (device == 0 || device == present_device);
  if (!mounted || (settled && as_before)) return;
  const char* failed =
      wait_for_capacity(device) ? settle(limit, &size) : "see the data disk's new size";
  if (failed) log_line("%s: %s", failed, strerror(errno));
}

/* --- requests --------------------------------------------------------------------------------- */

static void send_size(uint32_t id, const struct data_size* size) {
  frame_begin(id, SNOWGLOBE_OK);
  frame_u64(size->bytes);
  frame_u64(size->used);
  frame_end();
}

/* MOUNT_DATA and DISK_LIMIT have one shape. */
static void size_request(uint32_t id, struct reader* reader, bool mounts) {
  uint64_t device = read_u64(reader), limit = read_u64(reader);
  struct data_size size;
  const char* failed = NULL;
  if (!read_all(reader)) {
    send_error(id, EPROTO, "malformed %s", mounts ? "MOUNT_DATA" : "DISK_LIMIT");
    return;
  }
  if (mounted == mounts) {
    send_error(id, mounts ? EALREADY : ENODEV, "the data disk is %smounted",
               mounts ? "already " : "not ");
    return;
  }
  if (getpid() != 1) {
    errno = EPERM; /* a disk of somebody else's machine */
    failed = "touch the data disk";
  } else if (!wait_for_capacity(device)) {
    failed = "see the data disk's new size";
  } else if (!mounts) {
    failed = settle(limit, &size);
  } else if (!forget_disk()) {
    failed = "forget what was known of the data disk";
  } else {
    failed = data_mount(limit, &size);
  }
  if (failed) {
    send_error(id, errno, "%s", failed);
  } else {
    send_size(id, &size);
  }
}

void data_request_mount(uint32_t id, struct reader* reader) { size_request(id, reader, true); }
void data_request_limit(uint32_t id, struct reader* reader) { size_request(id, reader, false); }

void data_request_unmount(uint32_t id, struct reader* reader) {
  if (!read_all(reader)) {
    send_error(id, EPROTO, "malformed UNMOUNT_DATA");
  } else if (postgres_running()) {
    send_error(id, EBUSY, "PostgreSQL is running");
  } else if (!mounted) {
    send_error(id, ENODEV, "the data disk is not mounted");
  } else if (umount(DATA_MOUNT) < 0) {
    send_error(id, errno, "unmount the data disk");
  } else {
    mounted = false;
    memory_clear_huge_pages();
    bool forgotten = forget_disk();
    int error = errno;
    postgres_park();
    errno = error;
    send_outcome(id, forgotten, "forget the data disk");
  }
}
