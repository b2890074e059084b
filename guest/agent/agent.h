/* guest/agent/agent.h - what the agent's files know of each other.
 *
 * One thread, one poll loop (main.c); nothing here blocks on the host or on a child. As PID 1 the
 * agent must not die: every buffer has a bound, every allocation that may fail has an answer. */
#ifndef SNOWGLOBE_GUEST_AGENT_AGENT_H
#define SNOWGLOBE_GUEST_AGENT_AGENT_H

#include "protocol.h"

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define DATA_DISK "/dev/vdb"
#define DATA_MOUNT "/var/lib/postgresql"
#define DATA_FOLDER DATA_MOUNT "/data"
#define POSTGRES_PROGRAM "/usr/bin/postgres"
#define POSTGRES_UID 70
#define GENERATION_FILE "/run/generation"

/* --- wire.c: payloads ------------------------------------------------------------------------- */

/* A payload being read. After any read that did not fit, `bad` is true and values are 0. */
struct reader {
  const uint8_t* at;
  size_t left;
  bool bad;
  char* arena; /* where strings go to get their NUL; wire_reader() sets it up */
};

struct reader wire_reader(const uint8_t* payload, size_t length);
uint32_t read_u32(struct reader* reader);
uint64_t read_u64(struct reader* reader);
void read_bytes(struct reader* reader, uint8_t* bytes, size_t length);
/* Valid until the next wire_reader(). A NUL inside makes the payload bad. */
const char* read_string(struct reader* reader);
/* Fills strings[0 .. count] (NULL at the end) and returns count; `strings` has room for
 * SNOWGLOBE_MAX_STRINGS + 1. */
size_t read_list(struct reader* reader, char** strings);
/* True if everything was there and nothing is left over. */
bool read_all(const struct reader* reader);

/* A frame being written; there is one at a time. Strings that do not fit are cut short. */
void frame_begin(uint32_t id, enum snowglobe_type type);
void frame_u8(uint8_t value);
void frame_u32(uint32_t value);
void frame_u64(uint64_t value);
void frame_bytes(const void* bytes, size_t length);
void frame_string(const char* text, size_t length);
void frame_end(void);

void send_ok(uint32_t id);
/* Finishes a request: `error` is an errno, the text is what failed and need not name it. */
void send_error(uint32_t id, int error, const char* format, ...)
    __attribute__((format(printf, 3, 4)));
/* OK if `done`, else an error with errno. */
void send_outcome(uint32_t id, bool done, const char* what);
void send_text(enum snowglobe_type event, const char* format, ...)
    __attribute__((format(printf, 2, 3)));

/* --- port.c: the stream to the host ----------------------------------------------------------- */

/* Looks for the port in sysfs and opens it; true once it is open. */
bool port_open(void);
/* Serves `fd` in place of a port. */
void port_use(int fd);
int port_descriptor(void); /* -1 while there is none */
short port_events(void);   /* what to poll for */
void port_ready(short revents);
/* Forgets the host's state of connection; to be called when SIGIO says that it changed. */
void port_changed(void);
/* Appends a frame to what is to be sent. Requires room (see port_room). */
void port_send(const uint8_t* bytes, size_t length);
/* Bytes that may still be queued; streams stop and log lines are dropped well before 0. */
size_t port_room(void);
/* Sends all that is queued, waiting for the host to take it; gives up after a second. */
void port_drain(void);

#define ROOM_FOR_STREAMS (256u * 1024)
#define ROOM_FOR_LOG (128u * 1024)
#define ROOM_FOR_REQUESTS (96u * 1024)

/* --- requests.c ------------------------------------------------------------------------------- */

/* Takes one frame from the host. */
void request_frame(uint32_t id, uint16_t type, uint16_t zero, const uint8_t* payload,
                   size_t length);

enum request_kind { FREE_SLOT, EXEC_REQUEST, PUT_REQUEST, GET_REQUEST };

/* A request that outlives its first frame. */
struct request {
  enum request_kind kind;
  uint32_t id;
  union {
    struct {
      pid_t pid;
      int in, out, err; /* to the program; -1 when closed. With a terminal, no err */
      bool terminal;
      uint8_t* stdin_bytes;
      size_t stdin_start, stdin_length;
      uint32_t stdin_taken; /* not yet acknowledged */
      bool stdin_closing;   /* close `in` when stdin_bytes is empty */
      bool exited, timed_out;
      int status;
      size_t out_left, err_left; /* after the exit: what is still to be passed on */
      int64_t deadline;          /* monotonic milliseconds; 0: none */
    } exec;
    struct {
      int fd;
      uint64_t size;
      uint32_t mode, uid, gid;
      char *path, *work_path;
    } put;
    struct {
      int fd;
      uint64_t left, sent, size;
      uint32_t mode;
    } get;
  };
};

extern struct request requests[SNOWGLOBE_MAX_OPEN];
/* A free slot for a new request, or NULL after having answered EAGAIN. */
struct request* request_open(uint32_t id, enum request_kind kind);
struct request* request_find(uint32_t id);
void request_close(struct request* request);

/* --- exec.c ----------------------------------------------------------------------------------- */

void exec_start(uint32_t id, struct reader* reader);
void exec_continue(struct request* request, uint16_t type, const uint8_t* payload, size_t length);
/* Adds the pipes to poll; returns how many it added. */
size_t exec_poll(const struct request* request, struct pollfd* fds);
/* Moves what can be moved, and finishes the request when all is done. */
void exec_pump(struct request* request);
/* True if `pid` was the program of a request. */
bool exec_exited(pid_t pid, int status);
/* Kills programs whose time is over; returns the next deadline or 0. */
int64_t exec_deadlines(int64_t now);

/* --- terminal.c ------------------------------------------------------------------------------- */

bool terminal_size_ok(uint32_t rows, uint32_t columns);
/* A new terminal of the user `uid`: the program's three ends at ends[0][0], [1][1] and [2][1], ours
 * at [0][1] and [1][0]. What was opened stays there if it fails (errno). */
bool terminal_open(uint32_t rows, uint32_t columns, uint32_t uid, int ends[3][2]);
void terminal_resize(int fd, uint32_t rows, uint32_t columns);
/* In a child that leads a session, with the terminal at 0 to 2: returns in a child of its own,
 * which is to become the program. `ours`: our end of the terminal; `failure` stays open in the
 * child only. False: errno. */
bool terminal_lead(int ours, int failure);

/* --- files.c ---------------------------------------------------------------------------------- */

void put_start(uint32_t id, struct reader* reader);
void put_continue(struct request* request, uint16_t type, const uint8_t* payload, size_t length);
void get_start(uint32_t id, struct reader* reader);
void get_continue(struct request* request, uint16_t type);
void get_pump(struct request* request);
/* Writes a short text to a file (of /proc/sys, mostly). */
bool write_text(const char* path, const char* text);

/* --- postgres.c ------------------------------------------------------------------------------- */

/* Starts PostgreSQL with `-c` for each of `settings` (NULL-terminated). Returns 0 or an errno. */
int postgres_start(char* const* settings);
/* Has a postmaster wait for its data, so that a start without settings finds it half done. For a
 * machine whose data disk is not mounted. What goes wrong is logged, and a start does without. */
void postgres_park(void);
void postgres_request_start(uint32_t id, struct reader* reader);
void postgres_request_stop(uint32_t id, struct reader* reader);
void postgres_request_cancel(uint32_t id, struct reader* reader);
bool postgres_running(void);
pid_t postgres_pid(void);
void postgres_signal(int signal);
/* True if `pid` was the postmaster. */
bool postgres_exited(pid_t pid, int status);
int postgres_log_descriptor(void); /* -1 when closed */
void postgres_log_ready(void);
int postgres_watch_descriptor(void); /* readable when postmaster.pid changed; -1 when ready */
void postgres_watch_ready(void);

/* --- log.c ------------------------------------------------------------------------------------ */

/* A line for the host: of the agent itself, */
void log_line(const char* format, ...) __attribute__((format(printf, 1, 2)));
/* or of PostgreSQL. */
void log_postgres(const char* line, size_t length);
/* From now on, lines go to the console as well. */
void log_to_console(void);

/* --- boot.c ----------------------------------------------------------------------------------- */

/* Mounts, network, host name. What fails is reported and skipped; false if there is no data disk.
 */
bool boot(void);
/* The value of a word `name=value` of the kernel command line, or NULL. */
const char* boot_word(const char* name);
/* Settings from words `snowglobe.pg.name=value`, as "name=value", NULL-terminated. */
char* const* boot_settings(void);
/* The version of the image, from os-release. */
const char* boot_image_version(void);

/* --- data.c ----------------------------------------------------------------------------------- */

/* The data disk as its users see it, in bytes. */
struct data_size {
  uint64_t bytes, used;
};

/* Mounts the disk and sees to its size; NULL or what failed (errno says why). It may be mounted all
 * the same. `limit` is DISK_LIMIT's. */
const char* data_mount(uint64_t limit, struct data_size* size);
/* Sees to a size and a limit, if one is another than before; as for DISK_LIMIT. */
void data_keep_size(uint64_t device, uint64_t limit);
bool data_mounted(void);
void data_request_mount(uint32_t id, struct reader* reader);
void data_request_unmount(uint32_t id, struct reader* reader);
void data_request_limit(uint32_t id, struct reader* reader);

/* --- memory.c --------------------------------------------------------------------------------- */

/* What is set once: huge pages allowed, libraries kept, room left by the page cache. */
void memory_settle(void);
/* Huge pages that PostgreSQL gives back stay huge pages, for its next start; or from now on not. */
void memory_keep_huge_pages(bool keep);
/* Those that nobody uses become zero. */
void memory_clear_huge_pages(void);

/* Whether clean caches hold so much that it is not worth being stored. */
bool memory_caches_are_large(void);

/* --- resume.c --------------------------------------------------------------------------------- */

/* Makes the file by which PostgreSQL learns of a new generation. */
bool generation_open(const char* path);
void resume_request(uint32_t id, struct reader* reader);
void resume_set_clock(uint32_t id, struct reader* reader);
void resume_reseed(uint32_t id, struct reader* reader);

/* --- machine.c -------------------------------------------------------------------------------- */

void machine_quiesce(uint32_t id, struct reader* reader);
void machine_set_address(uint32_t id, struct reader* reader);
/* Sets the address and route of eth0; NULL or what failed (errno says why). */
const char* machine_address(const char* address_and_length, const char* gateway);
/* Gives eth0 another hardware address, if it has another one. */
bool machine_hardware_address(const uint8_t address[6]);
void machine_request_shutdown(uint32_t id, struct reader* reader);
/* A signal in place of a request (`reboot` from a shell of the guest). */
void machine_shutdown(uint32_t id, uint32_t milliseconds);
bool machine_shutting_down(void);
/* Takes the next step of a shutdown if it is due; returns the next deadline or 0. */
int64_t machine_shutdown_step(int64_t now);
/* PostgreSQL ended while the machine shuts down. */
void machine_postgres_ended(int status);

int64_t monotonic_ms(void);

#endif
