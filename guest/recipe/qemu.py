# guest/recipe/qemu.py - boots the image in Debian's QEMU: a check of the image by a machine that is not ours.
#
# The guest's network has the addresses that ours has, so that a forwarded connection comes from
# 10.5.0.2 and is trusted. The agent's port is there as well and is spoken to.

import os
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from . import sparse
from .cache import BuildError, run, say
from .manifest import COMMAND_LINE

_BOOT_SECONDS = 60


class Agent:
    """The host's side of guest/agent/protocol.h, as much of it as a check needs."""

    OK, ERROR, STDOUT, STDERR = 64, 65, 66, 67
    HELLO, PROGRESS, POSTGRES_READY, POSTGRES_EXITED, LOG, BOOT_FAILED = 96, 97, 98, 99, 100, 101
    PING, EXEC, SHUTDOWN = 1, 2, 10

    def __init__(self, stream):
        self.stream = stream
        self.last_id = 0

    def _read(self, length):
        data = b""
        while len(data) < length:
            piece = self.stream.recv(length - len(data))
            if not piece:
                raise BuildError("the agent's port was closed")
            data += piece
        return data

    def frame(self):
        length, number, kind, _ = struct.unpack("<IIHH", self._read(12))
        return number, kind, self._read(length)

    def send(self, kind, payload, number=None):
        if number is None:
            self.last_id += 1
            number = self.last_id
        self.stream.sendall(struct.pack("<IIHH", len(payload), number, kind, 0) + payload)
        return number

    def wait(self, kind):
        """The payload of the next frame of `kind`; others are skipped."""
        while True:
            _, found, payload = self.frame()
            if found == kind:
                return payload
            if found in (self.BOOT_FAILED, self.ERROR):
                raise BuildError("the agent says: " + payload[4:].decode(errors="replace"))

    def run(self, arguments, user=0):
        """(status, output) of a program in the guest."""
        def string(text):
            data = text.encode()
            return struct.pack("<I", len(data)) + data
        payload = struct.pack("<IIII", user, user, 0, 0) + string("/")
        payload += struct.pack("<H", len(arguments)) + b"".join(map(string, arguments))
        payload += struct.pack("<H", 0)
        number = self.send(self.EXEC, payload)
        output = b""
        while True:
            found, kind, payload = self.frame()
            if found != number:
                continue
            if kind in (self.STDOUT, self.STDERR):
                output += payload
            elif kind == self.OK:
                return struct.unpack("<iI", payload)[0], output.decode(errors="replace")
            elif kind == self.ERROR:
                raise BuildError("exec: " + payload[8:].decode(errors="replace"))


class Machine:
    """QEMU with the image on a scratch copy of the cluster."""

    def __init__(self, image, folder, memory=128, extra=(), command_line=""):
        self.folder = folder
        disk = folder / "data.img"
        sparse.unpack(image / "cluster.disk.zst", disk)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(folder / "agent"))
        listener.listen()
        self.console = folder / "console"
        self.process = subprocess.Popen(
            ["qemu-system-i386", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
             "-M", "pc", "-cpu", "pentium3,+sse2,-apic", "-m", str(memory),
             "-kernel", str(image / "bzImage"), "-append", f"{COMMAND_LINE} {command_line}",
             "-serial", f"file:{self.console}",
             "-drive", f"file={image / 'root.erofs'},format=raw,if=none,id=r,readonly=on",
             "-device", "virtio-blk-pci,drive=r,disable-modern=on",
             "-drive", f"file={disk},format=raw,if=none,id=d,cache=unsafe",
             "-device", "virtio-blk-pci,drive=d,disable-modern=on",
             "-netdev", "user,id=n,net=10.5.0.0/16,host=10.5.0.2,dns=10.5.0.3,dhcpstart=10.5.0.15,"
                        f"hostfwd=tcp:127.0.0.1:{self.port}-10.5.0.15:5432",
             "-device", "virtio-net-pci,netdev=n,disable-modern=on,romfile=",
             "-device", "virtio-serial-pci,disable-modern=on",
             "-chardev", f"socket,id=a,path={folder / 'agent'}",
             "-device", "virtserialport,chardev=a,name=snowglobe.agent",
             "-device", "virtio-rng-pci,disable-modern=on", *extra],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        listener.settimeout(10)
        try:
            stream, _ = listener.accept()
        except TimeoutError:
            raise BuildError("QEMU did not start: " + self.last_words()) from None
        stream.settimeout(_BOOT_SECONDS)
        self.agent = Agent(stream)

    def last_words(self):
        self.process.kill()
        output = self.process.communicate()[0].decode(errors="replace")
        if self.console.exists():
            output += self.console.read_text(errors="replace")[-3000:]
        return output

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def check(image):
    """Boots, asks for the version through a forwarded port, and shuts down cleanly."""
    with tempfile.TemporaryDirectory(prefix="snowglobe-qemu-") as folder:
        say("booting the image in qemu-system-i386")
        before = time.monotonic()
        machine = Machine(image, Path(folder))
        try:
            machine.agent.wait(Agent.HELLO)
            machine.agent.wait(Agent.POSTGRES_READY)
            say(f"  PostgreSQL is ready after {time.monotonic() - before:.2f} s")
            environment = {"LD_LIBRARY_PATH": str(image / "testing/lib")}
            version = run([image / "testing/bin/psql", "-X", "-qAt", "-h", "127.0.0.1", "-p", machine.port,
                           "-U", "postgres", "-c", "select version()"], env=environment,
                          timeout=_BOOT_SECONDS)
            say(f"  {version.strip()}")
            status, words = machine.agent.run(["uname", "-a"])
            say(f"  {words.strip()}")
            machine.agent.send(Agent.SHUTDOWN, struct.pack("<I", 10000))
            machine.agent.wait(Agent.OK)
            if machine.process.wait(timeout=10) or status:
                raise BuildError("QEMU ended with an error")
            say(f"  shut down cleanly after {time.monotonic() - before:.2f} s in all")
        except (TimeoutError, BuildError) as error:
            raise BuildError(f"{error}\n{machine.last_words()}") from None
        finally:
            machine.close()
