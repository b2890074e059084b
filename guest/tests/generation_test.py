#!/usr/bin/env python3
# guest/tests/generation_test.py - PostgreSQL's side of a new generation, tested without a machine.
#
# Runs the image's own server on the host, as guest/recipe/cluster.py does, with a generation file
# that the test writes as the agent would. Use: guest/tests/generation_test.py [IMAGE]

import contextlib
import mmap
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
GUEST = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(GUEST))

from recipe import root as root_recipe  # noqa: E402

IMAGE = Path(sys.argv[1]) if len(sys.argv) > 1 else GUEST.parent / "build/guest"
NOBODY = 65534


class Failed(Exception):
    """SQLSTATE of an error."""


class Session:
    """The simple protocol, as far as these tests go."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.pid = self.key = None
        words = b"user\0postgres\0database\0postgres\0\0"
        try:
            self.socket.connect(path)
            self.socket.sendall(struct.pack(">II", len(words) + 8, 196608) + words)
            self._answer()
        except BaseException:
            self.close()
            raise

    def _read(self, length):
        data = b""
        while len(data) < length:
            piece = self.socket.recv(length - len(data))
            if not piece:
                raise ConnectionError("the server closed the connection")
            data += piece
        return data

    def _answer(self):
        rows, error = [], None
        while True:
            kind, length = struct.unpack(">cI", self._read(5))
            body = self._read(length - 4)
            if kind == b"K":
                self.pid, self.key = struct.unpack(">II", body)
            elif kind == b"E":
                error = dict((f[:1], f[1:]) for f in body.split(b"\0") if f)[b"C"].decode()
            elif kind == b"D":
                size = struct.unpack_from(">i", body, 2)[0]
                rows.append(body[6:6 + size].decode() if size >= 0 else None)
            elif kind == b"Z":
                if error:
                    raise Failed(error)
                return rows[0] if rows else None

    def ask(self, text):
        """The first column of the first row."""
        words = text.encode() + b"\0"
        self.socket.sendall(b"Q" + struct.pack(">I", len(words) + 4) + words)
        return self._answer()

    def close(self):
        self.socket.close()


def symbol(name):
    """Address of a variable of the server, which is not relocated."""
    lines = subprocess.run(["nm", IMAGE / "symbols/postgres"], check=True, capture_output=True,
                           text=True).stdout.splitlines()
    # The compiler may have made a local one's name unlike others of the same name.
    found = [line.split() for line in lines if re.search(rf" {name}(\.[\w.]+)?$", line)]
    return int(found[0][0], 16)


class GenerationTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # The server refuses to be root, and nobody may not enter root's folders.
        cls.work = Path(tempfile.mkdtemp(prefix="snowglobe-generation-"))
        cls.addClassCleanup(shutil.rmtree, cls.work, ignore_errors=True)
        cls.work.chmod(0o755)
        usr = cls.work / "usr"
        shutil.copytree(IMAGE / "root/usr", usr, symlinks=True)
        root_recipe.client_libraries(usr, cls.work / "libraries")
        home = cls.work / "home"
        home.mkdir()
        user = {}
        if os.geteuid() == 0:
            os.chown(home, NOBODY, NOBODY)
            user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        cls.file = cls.work / "generation"
        cls.file.write_bytes(bytes(16))
        cls.file.chmod(0o444)
        environment = {**os.environ, "LD_LIBRARY_PATH": str(cls.work / "libraries"),
                       "HOME": str(home), "LOCPATH": str(usr / "lib/locale"),
                       "SNOWGLOBE_GENERATION": str(cls.file)}
        subprocess.run([usr / "bin/initdb", "-D", home / "data", "--username=postgres",
                        "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"],
                       env=environment, cwd=home, check=True, stdout=subprocess.DEVNULL, **user)
        cls.server = subprocess.Popen(
            [usr / "bin/postgres", "-D", home / "data", "-c", "listen_addresses=", "-c",
             "fsync=off", "-c", "huge_pages=off", "-c", f"unix_socket_directories={home}"],
            env=environment, cwd=home, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **user)
        cls.addClassCleanup(cls._stop)
        cls.path = str(home / ".s.PGSQL.5432")
        for _ in range(200):
            with contextlib.suppress(OSError, Failed):
                Session(cls.path).close()
                return
            time.sleep(0.1)
        raise AssertionError("the server did not start")

    @classmethod
    def _stop(cls):
        cls.server.terminate()
        cls.server.wait(timeout=60)

    def setUp(self):
        self.number = struct.unpack_from("<I", self.file.read_bytes())[0]
        self.session = Session(self.path)
        self.addCleanup(self.session.close)

    def begin(self, secret=0, fixed=0):
        """As the agent: everything else, and then the number."""
        with open(self.file, "r+b") as file, mmap.mmap(file.fileno(), 0) as page:
            page[4:8] = struct.pack("<I", secret)
            page[8:16] = struct.pack("<q", fixed)
            self.number += 1
            page[0:4] = struct.pack("<I", self.number)

    def cancel(self, key):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.path)
            connection.sendall(struct.pack(">IIII", 16, 80877102, self.session.pid, key))
            connection.recv(1)

    def cancelled_by(self, key):
        """Whether a running statement is cancelled with that key."""
        outcome = []

        def run():
            try:
                self.session.ask("select pg_sleep(1.5)")
                outcome.append(False)
            except Failed as failed:
                outcome.append(str(failed) == "57014")
        thread = threading.Thread(target=run)
        thread.start()
        time.sleep(0.4)
        self.cancel(key)
        thread.join()
        return outcome[0]

    def test_a_cancel_key_is_of_its_generation(self):
        self.begin(secret=0)
        key = self.session.key
        old = struct.unpack_from("<I", self.file.read_bytes(), 4)[0]
        self.begin(secret=0x12345678)
        self.assertFalse(self.cancelled_by(key), "the key of another generation")
        self.assertTrue(self.cancelled_by(key ^ old ^ 0x12345678))
        other = Session(self.path)
        self.addCleanup(other.close)
        self.session, key = other, other.key
        self.assertTrue(self.cancelled_by(key), "what a new client is told")
        self.begin(secret=0)

    def next_random(self, generator):
        """What random() returns next if nothing comes between: a twin of the process has the same."""
        with open(f"/proc/{self.session.pid}/mem", "rb") as memory:
            memory.seek(generator)
            first, second = struct.unpack("<QQ", memory.read(16))
        value = first * 5 % 2**64
        value = (value << 7 | value >> 57) * 9 % 2**64
        self.assertTrue(first or second)
        return (value >> 12) / 2**52

    def test_random_is_seeded_anew(self):
        generator = symbol("prng_state")
        self.session.ask("select random()")
        expected = self.next_random(generator)
        self.assertEqual(float(self.session.ask("select random()")), expected)
        expected = self.next_random(generator)
        self.begin()
        self.assertNotEqual(float(self.session.ask("select random()")), expected)
        expected = self.next_random(generator)
        self.assertEqual(float(self.session.ask("select random()")), expected, "once is enough")

    def test_generators_that_all_share_are_seeded_at_the_next_command(self):
        generator = symbol("pg_global_prng_state")
        self.session.ask("select 1")
        before = self.next_random(generator)
        self.session.ask("select 1")
        self.assertEqual(self.next_random(generator), before)
        self.begin()
        self.session.ask("select 1")
        self.assertNotEqual(self.next_random(generator), before)

    def test_what_the_user_seeded_stays(self):
        self.session.ask("select setseed(0.5)")
        expected = [self.session.ask("select random()") for _ in range(4)]
        self.session.ask("select setseed(0.5)")
        found = [self.session.ask("select random()") for _ in range(2)]
        self.begin()
        found += [self.session.ask("select random()") for _ in range(2)]
        self.assertEqual(found, expected)

    def test_now_stands_still_only_while_it_should(self):
        self.begin(fixed=1_700_000_000_123_456)
        for _ in range(2):
            self.assertEqual(self.session.ask("select now()"), "2023-11-14 22:13:20.123456+00")
        self.assertEqual(self.session.ask("select current_date"), "2023-11-14")
        self.assertNotEqual(self.session.ask("select clock_timestamp()::date"), "2023-11-14")
        started = time.monotonic()
        self.session.ask("set statement_timeout = '300ms'")
        with self.assertRaises(Failed):
            self.session.ask("select pg_sleep(5)")
        self.assertLess(time.monotonic() - started, 4)
        self.begin()
        self.assertNotEqual(self.session.ask("select now()::date"), "2023-11-14")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
