/* guest/agent/protocol.h - what the host and the agent (PID 1 of the guest) say to each other.
 *
 * Included by the agent (C) and by the host's side (C++20). The wire is a virtio console port named
 * SNOWGLOBE_PORT_NAME: a reliable stream of bytes both ways.
 *
 * Everything is little-endian. A frame is
 *
 *      u32 length      bytes of payload, at most SNOWGLOBE_MAX_PAYLOAD
 *      u32 id          which request; 0 for events. Chosen by the host, unique while it is open
 *      u16 type        enum snowglobe_type
 *      u16 zero        must be 0
 *      u8  payload[length]
 *
 * A `string` in a payload is u32 length and that many bytes, without a NUL inside; a `list` is u16
 * count and that many strings. A number that follows a string is not aligned.
 *
 * A request is opened by a frame of type 1 to 31 with an id that is not in use, may be continued by
 * frames of type 32 to 63 with the same id, and is finished by exactly one SNOWGLOBE_OK or
 * SNOWGLOBE_ERROR from the agent. Frames of a request that is finished are ignored without an
 * answer (they crossed its end on the way). Requests run side by side, at most SNOWGLOBE_MAX_OPEN
 * at a time.
 *
 * A frame that is malformed (payload of the wrong shape, unknown type, a second request with an id
 * in use or 0, a length above the bound, `zero` not 0) is answered with SNOWGLOBE_ERROR EPROTO
 * under its id and is otherwise without effect; the stream goes on behind it. A malformed
 * continuation finishes its request. Nothing that the host sends ends the agent but
 * SNOWGLOBE_SHUTDOWN.
 *
 * Opening: the agent sends SNOWGLOBE_HELLO as its first frame, and events from then on. It sends
 * without being asked and never waits for the host: LOG events are dropped, and counted, while the
 * host does not read. All other frames are kept.
 *
 * Snapshots: both directions are streams, and the guest's ends of them roll back with it. The host
 * keeps with a snapshot what it had still to send and the part of a frame that it had received
 * (AgentClient::save()), and goes on from there. Requests that were open then are finished with
 * their old ids: ids are not used again soon after a restore. */
#ifndef SNOWGLOBE_GUEST_AGENT_PROTOCOL_H
#define SNOWGLOBE_GUEST_AGENT_PROTOCOL_H

#define SNOWGLOBE_PORT_NAME "snowglobe.agent"
#define SNOWGLOBE_PROTOCOL_VERSION 4u

#define SNOWGLOBE_HEADER_SIZE 12u
#define SNOWGLOBE_MAX_PAYLOAD 65536u
/* Requests open at once, of all kinds. */
#define SNOWGLOBE_MAX_OPEN 64u
/* Bytes of an EXEC's stdin that the host may have sent and the agent not yet acknowledged. */
#define SNOWGLOBE_STDIN_WINDOW 65536u
/* Arguments of one EXEC or START_POSTGRES, and variables of its environment. */
#define SNOWGLOBE_MAX_STRINGS 1024u
/* Bytes of entropy that one RESEED or RESUME may carry, and that RESUME must. */
#define SNOWGLOBE_MAX_ENTROPY 512u
#define SNOWGLOBE_RESUME_ENTROPY 32u

enum snowglobe_type {
  /* --- requests (host to guest) --------------------------------------------------------------- */

  /* Any payload; OK carries the same. */
  SNOWGLOBE_PING = 1,

  /* Runs a program: u32 uid, u32 gid, u32 timeout in ms (0: none), u32 flags, string directory,
   * list arguments (the first is the program: a path, or a name that is looked up in PATH), list
   * environment ("NAME=value"; empty: the agent's own, which has PATH, HOME, TERM, LANG, PGUSER);
   * with SNOWGLOBE_EXEC_TERMINAL, u32 rows, u32 columns (each at most 65535).
   * The program is the leader of a session of its own; when the time is over, that whole process
   * group is killed. Output comes as SNOWGLOBE_STDOUT and _STDERR, then OK carries i32 wait status
   * (as of waitpid) and u32 1 if the time was over. Output that the program's own children still
   * write after its end is cut off. ERROR if it could not be started.
   * With SNOWGLOBE_EXEC_TERMINAL the program has a terminal of its own, which it controls, for all
   * three; what it writes comes as SNOWGLOBE_STDOUT, and an empty SNOWGLOBE_STDIN types ^D. */
  SNOWGLOBE_EXEC = 2,

  /* Writes a regular file: string path, u32 mode, u32 uid, u32 gid. The contents follow as
   * SNOWGLOBE_DATA, an empty one ends them. They go to a new file beside it which then takes its
   * place, so a reader sees the old or the new one. OK carries u64 size. */
  SNOWGLOBE_PUT = 3,

  /* Reads a regular file: string path, u64 offset, u64 limit (bytes at most). The contents come as
   * SNOWGLOBE_DATA; OK carries u64 bytes sent, u64 size of the file, u32 mode. */
  SNOWGLOBE_GET = 4,

  /* Sets the wall clock: u64 nanoseconds since 1970 UTC. OK is empty. */
  SNOWGLOBE_SET_CLOCK = 5,

  /* Stirs 1 to SNOWGLOBE_MAX_ENTROPY bytes into the kernel's random generator, credits them in full
   * and has it reseed at once, so that whatever comes after OK differs from a twin's. OK is empty.
   */
  SNOWGLOBE_RESEED = 6,

  /* Starts PostgreSQL: list of settings ("name=value"), added as `-c name=value`. OK (empty) when
   * the process runs; POSTGRES_READY follows. ERROR EALREADY if it is running. Needed only after
   * STOP_POSTGRES, POSTGRES_EXITED, or with snowglobe.postgres=manual on the kernel command line.
   */
  SNOWGLOBE_START_POSTGRES = 7,

  /* Stops PostgreSQL: u32 how (0 smart, 1 fast, 2 immediate). OK carries i32 wait status once it
   * has ended; there is no POSTGRES_EXITED event then. ERROR ESRCH if it is not running. */
  SNOWGLOBE_STOP_POSTGRES = 8,

  /* Makes memory fit for a snapshot: u32 flags (1: write back all dirty data; 2: drop clean caches;
   * 4: read PostgreSQL's program text in and lock it; 8: free memory must be zero: ERROR ENOTSUP
   * unless the kernel sees to it, as `init_on_free=1` has it do; 16: drop clean caches if they are
   * more than 64 MiB). OK is empty. */
  SNOWGLOBE_QUIESCE = 9,

  /* Ends the machine: u32 milliseconds for PostgreSQL to stop fast before it is stopped the hard
   * way. All other programs are killed, disks are written back and unmounted; then OK (i32 wait
   * status of PostgreSQL, -1 if it was not running), and the machine resets itself as soon as the
   * host has taken that frame, or after a second. Other requests that are open get no answer. */
  SNOWGLOBE_SHUTDOWN = 10,

  /* The address of eth0: string "a.b.c.d/n", string gateway ("" for none). For clones that share
   * a network. OK is empty. */
  SNOWGLOBE_SET_ADDRESS = 11,

  /* What a machine needs first after a restore, as a fork, or from the ready state: u64 wall clock
   * in nanoseconds since 1970 UTC (0: leave it), u64 fixed time likewise (0: none), u32 secret,
   * u64 bytes that the data disk has and u64 its limit, as for DISK_LIMIT, u8[6] hardware address
   * of eth0 (zeros: leave it; connections go on, the kernel forgets its neighbours), then
   * SNOWGLOBE_RESUME_ENTROPY to SNOWGLOBE_MAX_ENTROPY bytes of entropy. Does what SET_CLOCK and
   * RESEED do. With a fixed time, now() and its kin stand still there from the next statement on,
   * until a RESUME without one; the clock itself, clock_timestamp() and time limits go on. OK is
   * empty. The host lets no frame of the network into the guest, and sends no other request, until
   * it has come.
   *
   * A new generation begins: in all sessions, also the waiting ones, random() is seeded anew
   * (unless the session called setseed()) and cancel keys change. A session's key is, as clients
   * see it, its own number XOR the secret, which is 0 after a cold boot: so the key of a session
   * that was there before is now `old key ^ old secret ^ new secret`. */
  SNOWGLOBE_RESUME = 12,

  /* Cancels what a session runs, as a cancel request would, without a connection and a key: u32 pid
   * of its backend. OK is empty. ERROR ESRCH if PostgreSQL has no such process. */
  SNOWGLOBE_CANCEL_STATEMENT = 13,

  /* Mounts the data disk, in a machine that waits for it (`snowglobe.data=wait` on the kernel's
   * command line, or UNMOUNT_DATA): u64 bytes that the disk has (0: as it is; else waits up to two
   * seconds for the kernel to see that size: the host's configuration interrupt), u64 limit as for
   * DISK_LIMIT. Nothing that the kernel knew of the disk before is believed. OK as of DISK_LIMIT;
   * PostgreSQL is started by START_POSTGRES. ERROR EALREADY if it is mounted. */
  SNOWGLOBE_MOUNT_DATA = 14,

  /* The other way: after STOP_POSTGRES, for a state that goes on with another disk. Huge pages stay
   * for PostgreSQL's next start, and are zero. OK is empty. ERROR EBUSY if something uses it. */
  SNOWGLOBE_UNMOUNT_DATA = 15,

  /* The data disk's size as its users see it: u64 bytes that the disk has, as for MOUNT_DATA, u64
   * limit in bytes (0: all but a reserve of a fifth, at most 1 GiB). The file system grows with the
   * disk and never shrinks; what lies above the limit becomes its reserve, which only PostgreSQL's
   * log, its own books and tables' maps can use, so that a full disk is an error of statements and
   * not the server's end. OK carries u64 size, u64 used. A limit below what is used is a disk that
   * is full. */
  SNOWGLOBE_DISK_LIMIT = 16,

  /* --- continuations (host to guest) ---------------------------------------------------------- */

  /* EXEC: bytes for stdin; an empty frame closes it. Without SNOWGLOBE_EXEC_STDIN it is closed from
   * the start. The host keeps within SNOWGLOBE_STDIN_WINDOW unacknowledged bytes. */
  SNOWGLOBE_STDIN = 32,
  /* EXEC: i32 signal, sent to the program's process group. */
  SNOWGLOBE_SIGNAL = 33,
  /* PUT, GET: gives the request up (PUT: without a trace). Finished by ERROR ECANCELED. For EXEC
   * see SIGNAL. */
  SNOWGLOBE_CANCEL = 34,
  /* EXEC with a terminal: u32 rows, u32 columns that it has from now on. */
  SNOWGLOBE_RESIZE = 35,

  /* --- both ways ------------------------------------------------------------------------------ */

  /* PUT, GET: contents. In a PUT, an empty frame is the end. */
  SNOWGLOBE_DATA = 48,

  /* --- answers (guest to host) ---------------------------------------------------------------- */

  SNOWGLOBE_OK = 64,
  /* u32 errno (Linux), string what failed, for people. */
  SNOWGLOBE_ERROR = 65,
  /* EXEC: bytes written by the program. */
  SNOWGLOBE_STDOUT = 66,
  SNOWGLOBE_STDERR = 67,
  /* EXEC: u32 bytes of stdin that the program has taken since the last such frame. */
  SNOWGLOBE_STDIN_TAKEN = 68,

  /* --- events (guest to host, id 0) ----------------------------------------------------------- */

  /* u32 SNOWGLOBE_PROTOCOL_VERSION of the agent, string version of the image. */
  SNOWGLOBE_HELLO = 96,
  /* A step of the boot is done: string for people ("disks mounted"). */
  SNOWGLOBE_PROGRESS = 97,
  /* PostgreSQL accepts connections: u32 pid of its postmaster. */
  SNOWGLOBE_POSTGRES_READY = 98,
  /* The postmaster has ended without being asked: i32 wait status. It is not started again. */
  SNOWGLOBE_POSTGRES_EXITED = 99,
  /* A line of PostgreSQL's log or the agent's own: u8 enum snowglobe_log_source, u32 lines dropped
   * before this one, string line without its newline. */
  SNOWGLOBE_LOG = 100,
  /* The guest could not be brought up: string why. The agent goes on to serve requests. */
  SNOWGLOBE_BOOT_FAILED = 101
};

enum snowglobe_exec_flags {
  /* The host will send SNOWGLOBE_STDIN. */
  SNOWGLOBE_EXEC_STDIN = 1,
  SNOWGLOBE_EXEC_TERMINAL = 2
};

enum snowglobe_quiesce_flags {
  SNOWGLOBE_QUIESCE_SYNC = 1,
  SNOWGLOBE_QUIESCE_DROP_CACHES = 2,
  SNOWGLOBE_QUIESCE_LOCK_TEXT = 4,
  SNOWGLOBE_QUIESCE_SCRUB = 8,
  SNOWGLOBE_QUIESCE_TRIM = 16
};

enum snowglobe_log_source { SNOWGLOBE_LOG_POSTGRES = 1, SNOWGLOBE_LOG_AGENT = 2 };

#endif
