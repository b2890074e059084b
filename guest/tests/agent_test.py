#!/usr/bin/env python3
# guest/tests/agent_test.py - the agent's side of protocol.h, tested without a machine.
#
# `agent --serve FD` answers requests as an ordinary i386 process of the host. Use:
# guest/tests/agent_test.py PATH-OF-AGENT [SEED]

import errno
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

(PING, EXEC, PUT, GET, SET_CLOCK, RESEED, START, STOP, QUIESCE, SHUTDOWN, ADDRESS, RESUME,
 CANCEL_STATEMENT, MOUNT_DATA, UNMOUNT_DATA, DISK_LIMIT) = range(1, 17)
STDIN, SIGNAL, CANCEL, RESIZE, DATA = 32, 33, 34, 35, 48
OK, ERROR, STDOUT, STDERR, TAKEN = 64, 65, 66, 67, 68
HELLO = 96
RESUME_HEAD = 42  # what is before the entropy
MAX_PAYLOAD = 65536
WINDOW = 65536

AGENT = sys.argv[1] if len(sys.argv) > 1 else None
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 20240607


def u32(*values):
    return struct.pack(f"<{len(values)}I", *values)


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return u32(len(data)) + data


def texts(values):
    return struct.pack("<H", len(values)) + b"".join(map(text, values))


WITH_STDIN, TERMINAL = 1, 2

# Says what it reads, and which signals come.
ECHO = '''
import os, signal, sys
signal.signal(signal.SIGWINCH, lambda *_: print(*reversed(os.get_terminal_size())))
signal.signal(signal.SIGINT, lambda *_: print("interrupted"))
print("ready")
for line in sys.stdin:
    print(f"<{line.rstrip()}>")
print("end")
'''


def execute(arguments, directory="/", timeout=0, flags=0, environment=(), uid=None, size=(24, 80)):
    uid = os.getuid() if uid is None else uid
    return (u32(uid, os.getgid(), timeout, flags) + text(directory) + texts(arguments) +
            texts(environment) + (u32(*size) if flags & TERMINAL else b""))


class AgentTest(unittest.TestCase):
    def setUp(self):
        self.end, theirs = socket.socketpair()
        self.end.settimeout(20)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        other_folder = tempfile.TemporaryDirectory()
        self.addCleanup(other_folder.cleanup)
        self.generation = Path(other_folder.name) / "generation"
        self.process = subprocess.Popen(
            [AGENT, "--serve", str(theirs.fileno())], pass_fds=[theirs.fileno()],
            env={**os.environ, "SNOWGLOBE_GENERATION": str(self.generation)})
        theirs.close()
        self.number = 0
        self.assertEqual(self.frame()[1], HELLO)

    def tearDown(self):
        if self.process.poll() is None:
            self.assert_alive()
        self.end.close()
        self.assertEqual(self.process.wait(timeout=10), 0)

    def read(self, length):
        data = b""
        while len(data) < length:
            piece = self.end.recv(length - len(data))
            self.assertTrue(piece, "the agent is gone")
            data += piece
        return data

    def frame(self):
        length, number, kind, zero = struct.unpack("<IIHH", self.read(12))
        self.assertEqual(zero, 0)
        self.assertLessEqual(length, MAX_PAYLOAD)
        return number, kind, self.read(length)

    def send(self, kind, payload=b"", number=None, zero=0):
        if number is None:
            self.number += 1
            number = self.number
        self.end.sendall(struct.pack("<IIHH", len(payload), number, kind, zero) + payload)
        return number

    def finish(self, number):
        """The frames of a request until its end: ({kind: bytes}, last kind, last payload)."""
        streams = {kind: bytearray() for kind in (STDOUT, STDERR, DATA, TAKEN)}
        while True:
            found, kind, payload = self.frame()
            if found != number:
                continue
            if kind in (OK, ERROR):
                return {kind: bytes(data) for kind, data in streams.items()}, kind, payload
            streams[kind] += payload

    def ask(self, kind, payload=b""):
        return self.finish(self.send(kind, payload))

    def assert_error(self, answer, number):
        _, kind, payload = answer
        self.assertEqual(kind, ERROR, payload)
        self.assertEqual(struct.unpack_from("<I", payload)[0], number, payload)

    def assert_alive(self):
        self.assertEqual(self.ask(PING, b"still there")[1:], (OK, b"still there"))

    def test_ping_returns_its_payload(self):
        for length in (0, 1, 1000, MAX_PAYLOAD):
            payload = os.urandom(length)
            self.assertEqual(self.ask(PING, payload)[1:], (OK, payload))

    def test_exec_passes_output_status_directory_and_environment(self):
        streams, kind, payload = self.ask(EXEC, execute(
            ["sh", "-c", "pwd; echo $WORD >&2; exit 3"], directory="/usr",
            environment=["WORD=snow", "PATH=/bin"]))
        self.assertEqual((kind, streams[STDOUT], streams[STDERR]), (OK, b"/usr\n", b"snow\n"))
        self.assertEqual(struct.unpack("<iI", payload), (3 << 8, 0))

    def test_exec_of_what_is_not_there_names_it(self):
        answer = self.ask(EXEC, execute(["/no/such/program"]))
        self.assert_error(answer, errno.ENOENT)
        self.assertIn(b"/no/such/program", answer[2])
        self.assert_error(self.ask(EXEC, execute(["true"], directory="/no/such")), errno.ENOENT)

    def test_exec_time_limit_kills_the_whole_group(self):
        before = time.monotonic()
        _, kind, payload = self.ask(EXEC, execute(["sh", "-c", "sleep 60 & wait"], timeout=200))
        self.assertEqual((kind, struct.unpack("<iI", payload)), (OK, (signal.SIGKILL, 1)))
        self.assertLess(time.monotonic() - before, 10)

    def test_exec_stdin_goes_through_with_acknowledgements(self):
        number = self.send(EXEC, execute(["cat"], flags=1))
        data = os.urandom(1 << 20)
        sent = taken = 0
        received = b""
        ended = False
        while True:
            while sent < len(data) and sent - taken < WINDOW:
                piece = data[sent:sent + min(30000, WINDOW - (sent - taken))]
                self.send(STDIN, piece, number)
                sent += len(piece)
            if sent == len(data) and not ended:
                self.send(STDIN, b"", number)
                ended = True
            _, kind, payload = self.frame()
            if kind == TAKEN:
                taken += struct.unpack("<I", payload)[0]
            elif kind == STDOUT:
                received += payload
            else:
                self.assertEqual((kind, struct.unpack("<iI", payload)), (OK, (0, 0)))
                break
        self.assertEqual(received, data)

    def test_exec_more_stdin_than_the_window_is_refused(self):
        number = self.send(EXEC, execute(["sleep", "60"], flags=1))
        for _ in range(4):
            self.send(STDIN, bytes(60000), number)
        self.assert_error(self.finish(number), errno.EPROTO)

    def test_exec_stdin_to_a_program_that_does_not_read_is_taken(self):
        number = self.send(EXEC, execute(["sh", "-c", "exec <&-; sleep 0.3"], flags=1))
        time.sleep(0.1)
        self.send(STDIN, bytes(60000), number)
        self.assertEqual(self.finish(number)[1], OK)

    def test_exec_signal_reaches_the_program(self):
        number = self.send(EXEC, execute(["sleep", "60"]))
        time.sleep(0.1)
        self.send(SIGNAL, u32(signal.SIGTERM), number)
        _, kind, payload = self.finish(number)
        self.assertEqual((kind, struct.unpack("<iI", payload)), (OK, (signal.SIGTERM, 0)))

    def test_exec_output_waits_while_the_host_does_not_read(self):
        number = self.send(EXEC, execute(["sh", "-c", "head -c 20000000 /dev/zero"]))
        time.sleep(0.5)
        streams, kind, _ = self.finish(number)
        self.assertEqual((kind, len(streams[STDOUT])), (OK, 20000000))

    def test_exec_output_is_cut_off_at_the_end_of_the_program(self):
        before = time.monotonic()
        streams, kind, _ = self.ask(EXEC, execute(["sh", "-c", "echo done; sleep 5 &"]))
        self.assertEqual((kind, streams[STDOUT]), (OK, b"done\n"))
        self.assertLess(time.monotonic() - before, 3)

    def test_exec_with_a_terminal_has_one_of_that_size_and_controls_it(self):
        streams, kind, payload = self.ask(EXEC, execute(
            ["sh", "-c", "test -t 0 && test -t 1 && test -t 2 && tty && stty size && stty size "
             "</dev/tty; echo oops >&2; exit 5"], flags=TERMINAL, size=(31, 97)))
        self.assertEqual((kind, struct.unpack("<iI", payload)), (OK, (5 << 8, 0)))
        self.assertRegex(streams[STDOUT], rb"^/dev/pts/\d+\r\n31 97\r\n31 97\r\noops\r\n$")
        self.assertEqual(streams[STDERR], b"")

    def read_until(self, number, wanted):
        seen = b""
        while wanted not in seen:
            found, kind, payload = self.frame()
            self.assertNotIn(kind, (OK, ERROR), seen)
            if kind == STDOUT:
                seen += payload
        return seen

    def test_exec_with_a_terminal_hears_keys_and_of_a_new_size(self):
        number = self.send(EXEC, execute(
            [sys.executable, "-uc", ECHO], flags=WITH_STDIN | TERMINAL))
        self.read_until(number, b"ready\r\n")
        self.send(STDIN, b"one\n", number)
        self.assertEqual(self.read_until(number, b"<one>\r\n"), b"one\r\n<one>\r\n")
        self.send(RESIZE, u32(50, 132), number)
        self.send(STDIN, b"\n", number)
        # The echo of the empty line may come between the two numbers, which are written one by one.
        said = self.read_until(number, b"<>\r\n")
        self.assertIn(b"50 132", b" ".join(said.split()), said)
        self.send(STDIN, b"\x03", number)
        self.send(STDIN, b"\n", number)
        self.assertIn(b"interrupted\r\n", self.read_until(number, b"<>\r\n"))
        self.send(STDIN, b"", number)
        streams, kind, payload = self.finish(number)
        self.assertEqual((kind, struct.unpack("<iI", payload)), (OK, (0, 0)))
        self.assertEqual(streams[STDOUT], b"end\r\n")

    def test_exec_with_a_terminal_loses_no_last_words(self):
        # Many more than a terminal keeps, from a program that ends at once behind them.
        for _ in range(5):
            streams, kind, payload = self.ask(EXEC, execute(
                ["sh", "-c", "seq 1 20000; kill -TERM $$"], flags=TERMINAL))
            self.assertEqual((kind, struct.unpack("<iI", payload)), (OK, (signal.SIGTERM, 0)))
            self.assertEqual(streams[STDOUT].split(), [b"%d" % i for i in range(1, 20001)])

    def test_exec_with_a_terminal_ends_at_its_limit_with_all_that_it_began(self):
        before = time.monotonic()
        _, kind, payload = self.ask(EXEC, execute(
            ["sh", "-c", "set -m; sleep 61 & sleep 62; wait"], timeout=300, flags=TERMINAL))
        self.assertEqual((kind, struct.unpack("<iI", payload)), (OK, (signal.SIGKILL, 1)))
        self.assertLess(time.monotonic() - before, 10)

    def test_a_terminal_that_cannot_be_is_refused(self):
        self.assert_error(self.ask(EXEC, execute(["true"], flags=TERMINAL, size=(24, 65536))),
                          errno.EPROTO)
        self.assert_error(self.ask(EXEC, execute(["true"], flags=TERMINAL) + b"x"), errno.EPROTO)
        answer = self.ask(EXEC, execute(["/no/such/program"], flags=TERMINAL))
        self.assert_error(answer, errno.ENOENT)
        for flags, size in ((TERMINAL, u32(0, 1 << 16)), (TERMINAL, u32(1)), (0, u32(24, 80))):
            number = self.send(EXEC, execute(["sleep", "60"], flags=flags))
            self.send(RESIZE, size, number)
            self.assert_error(self.finish(number), errno.EPROTO)

    def test_requests_run_side_by_side_up_to_the_bound(self):
        numbers = [self.send(EXEC, execute(["sleep", "1"])) for _ in range(64)]
        self.assert_error(self.ask(EXEC, execute(["true"])), errno.EAGAIN)
        self.assert_alive_while_open(numbers)

    def assert_alive_while_open(self, numbers):
        left = set(numbers)
        while left:
            number, kind, payload = self.frame()
            self.assertEqual((kind, struct.unpack("<iI", payload)), (OK, (0, 0)))
            left.remove(number)
        self.assertEqual(self.ask(EXEC, execute(["true"]))[1], OK)

    def test_put_and_get_round_trip(self):
        path = self.folder / "file"
        data = os.urandom(300001)
        number = self.send(PUT, text(str(path)) + u32(0o640, os.getuid(), os.getgid()))
        for start in range(0, len(data), MAX_PAYLOAD):
            self.send(DATA, data[start:start + MAX_PAYLOAD], number)
        self.assertEqual(list(self.folder.glob("file")), [])
        self.send(DATA, b"", number)
        self.assertEqual(self.finish(number)[1:], (OK, struct.pack("<Q", len(data))))
        self.assertEqual(path.read_bytes(), data)
        self.assertEqual(path.stat().st_mode & 0o7777, 0o640)
        streams, kind, payload = self.ask(GET, text(str(path)) + struct.pack("<QQ", 0, 1 << 40))
        self.assertEqual((kind, streams[DATA]), (OK, data))
        self.assertEqual(struct.unpack("<QQI", payload), (len(data), len(data), 0o640))
        streams, kind, payload = self.ask(GET, text(str(path)) + struct.pack("<QQ", 300000, 7))
        self.assertEqual((kind, streams[DATA]), (OK, data[300000:]))

    def test_put_given_up_leaves_nothing(self):
        path = self.folder / "file"
        number = self.send(PUT, text(str(path)) + u32(0o600, os.getuid(), os.getgid()))
        self.send(DATA, b"half", number)
        self.send(CANCEL, b"", number)
        self.assert_error(self.finish(number), errno.ECANCELED)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_files_that_are_none_are_refused(self):
        os.mkfifo(self.folder / "pipe")
        for path, error in ((self.folder, errno.EISDIR), (self.folder / "pipe", errno.EINVAL),
                            (Path("/dev/zero"), errno.EINVAL), (self.folder / "x/y", errno.ENOENT)):
            get = self.ask(GET, text(str(path)) + struct.pack("<QQ", 0, 10))
            self.assert_error(get, error)
            put = self.ask(PUT, text(str(path)) + u32(0o600, 0, 0))
            self.assert_error(put, error)

    def test_malformed_frames_get_an_error_and_nothing_more(self):
        self.assert_error(self.ask(EXEC, b"short"), errno.EPROTO)
        self.assert_error(self.ask(EXEC, execute([])), errno.EPROTO)
        self.assert_error(self.ask(EXEC, execute(["true"]) + b"x"), errno.EPROTO)
        self.assert_error(self.ask(EXEC, execute([b"a\0b"])), errno.EPROTO)
        self.assert_error(self.ask(EXEC, execute(["true"], flags=4)), errno.EPROTO)
        self.assert_error(self.ask(EXEC, execute(["x"] * 1025)), errno.EPROTO)
        self.assert_error(self.ask(PUT, text("") + u32(0, 0, 0)), errno.EPROTO)
        self.assert_error(self.ask(PUT, text("/tmp/x") + u32(0o70000, 0, 0)), errno.EPROTO)
        self.assert_error(self.ask(GET, u32(0xffffffff)), errno.EPROTO)
        self.assert_error(self.ask(SET_CLOCK, b"1234567"), errno.EPROTO)
        self.assert_error(self.ask(RESEED, b""), errno.EPROTO)
        self.assert_error(self.ask(RESEED, bytes(513)), errno.EPROTO)
        self.assert_error(self.ask(START, texts(["no equals sign"])), errno.EPROTO)
        self.assert_error(self.ask(STOP, u32(3)), errno.EPROTO)
        self.assert_error(self.ask(STOP, u32(1)), errno.ESRCH)
        self.assert_error(self.ask(QUIESCE, u32(32)), errno.EPROTO)
        self.assert_error(self.ask(RESUME, bytes(RESUME_HEAD + 31)), errno.EPROTO)
        self.assert_error(self.ask(RESUME, bytes(RESUME_HEAD + 513)), errno.EPROTO)
        self.assert_error(self.ask(RESUME, bytes(RESUME_HEAD - 1)), errno.EPROTO)
        self.assertEqual(self.generation.read_bytes(), bytes(16))
        self.assert_error(self.ask(CANCEL_STATEMENT, b""), errno.EPROTO)
        self.assert_error(self.ask(CANCEL_STATEMENT, u32(1)), errno.EPROTO)
        self.assert_error(self.ask(CANCEL_STATEMENT, u32(os.getpid())), errno.ESRCH)
        self.assert_error(self.ask(SHUTDOWN, b""), errno.EPROTO)
        self.assert_error(self.ask(ADDRESS, text("10.5.0.300/16") + text("")), errno.EINVAL)
        for kind in (MOUNT_DATA, DISK_LIMIT):
            self.assert_error(self.ask(kind, bytes(15)), errno.EPROTO)
            self.assert_error(self.ask(kind, bytes(17)), errno.EPROTO)
        self.assert_error(self.ask(UNMOUNT_DATA, bytes(1)), errno.EPROTO)
        self.assert_error(self.ask(31), errno.EPROTO)
        self.assert_error(self.ask(200), errno.EPROTO)
        self.assert_error(self.finish(self.send(PING, b"", zero=1)), errno.EPROTO)
        self.assert_error(self.finish(self.send(PING, b"", number=0)), errno.EPROTO)

    def test_each_resume_begins_a_generation(self):
        self.assertEqual(self.generation.stat().st_mode & 0o777, 0o440)
        for number, fixed, secret in ((1, 0, 0xfedcba98), (2, 1_700_000_000_123_456_789, 7)):
            # Clock 0: the host's stays as it is.
            answer = self.ask(RESUME, struct.pack("<QQIQQ6x", 0, fixed, secret, 0, 0) + os.urandom(32))
            if answer[1] == ERROR:  # only root may reseed the host's generator
                self.assert_error(answer, errno.EPERM)
                self.assertEqual(self.generation.read_bytes(), bytes(16))
                self.skipTest("not permitted to reseed")
            self.assertEqual(answer[2], b"")
            self.assertEqual(self.generation.read_bytes(),
                             struct.pack("<IIq", number, secret, fixed // 1000))

    def test_a_disk_that_is_not_there_has_no_size(self):
        # Nobody but PID 1 of a guest may mount: here it would be a disk of the host's.
        self.assert_error(self.ask(MOUNT_DATA, bytes(16)), errno.EPERM)
        self.assert_error(self.ask(DISK_LIMIT, bytes(16)), errno.ENODEV)
        self.assert_error(self.ask(UNMOUNT_DATA, b""), errno.ENODEV)
        self.assert_error(self.ask(START, texts([])), errno.ENODEV)

    def test_a_frame_that_is_too_long_is_skipped(self):
        for length in (MAX_PAYLOAD + 1, 200000):
            number = self.send(PING, bytes(length))
            self.assert_error(self.finish(number), errno.EPROTO)
            self.assert_alive()

    def test_an_id_in_use_is_refused_and_its_owner_goes_on(self):
        number = self.send(EXEC, execute(["sleep", "0.3"]))
        self.send(PING, b"", number)
        self.assert_error(self.finish(number), errno.EPROTO)
        self.assertEqual(self.finish(number)[1], OK)

    def test_continuations_of_nothing_are_ignored(self):
        for kind in (STDIN, SIGNAL, CANCEL, RESIZE, DATA):
            self.send(kind, b"12345", 4711)

    def test_frames_in_single_bytes(self):
        for byte in struct.pack("<IIHH", 3, 99, PING, 0) + b"abc":
            self.end.sendall(bytes([byte]))
            time.sleep(0.002)
        self.assertEqual(self.finish(99)[1:], (OK, b"abc"))

    def test_random_frames_do_no_harm(self):
        rng = random.Random(SEED)
        # Only requests that can not change the host that the test runs on.
        kinds = [PING, EXEC, GET, STOP, STDIN, SIGNAL, CANCEL, RESIZE, DATA, 0, 31, 63, 64, 99, 65535]
        for _ in range(3000):
            kind = rng.choice(kinds)
            payload = bytearray(rng.choice([
                execute(["true"], uid=os.getuid()), text("/etc/hostname") + bytes(16), b"",
                rng.randbytes(rng.randrange(200))]))
            for _ in range(rng.randrange(3)):
                if payload and kind != EXEC:
                    payload[rng.randrange(len(payload))] = rng.randrange(256)
            self.send(kind, bytes(payload), rng.randrange(1, 20),
                      zero=rng.choice([0, 0, 0, 0, 1]))
            while select.select([self.end], [], [], 0)[0]:
                self.frame()
        last = self.send(PING, b"", 0x7fffffff)
        while self.frame()[0] != last:
            pass


if __name__ == "__main__":
    if not AGENT:
        sys.exit("use: agent_test.py PATH-OF-AGENT [SEED]")
    unittest.main(argv=[sys.argv[0]], verbosity=1)
