# guest/recipe/training.py - runs an instrumented PostgreSQL on the host for the compiler's profile.

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from .cache import GUEST, BuildError, run

WORK = GUEST / "training"

_NOBODY = 65534
_INITDB = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C",
           "--data-checksums", "--no-sync", "--no-instructions", "--wal-segsize=1"]
_LIBRARIES = ["libcrypto.so.3", "libssl.so.3", "libuuid.so.1", "libz.so.1"]


def train(tree, sysroot, code):
    """Runs the programs of `tree`, which were compiled in `code`, and leaves their .gcda files there."""
    # PostgreSQL refuses to be root; nobody may not enter root's cache. Hence a place of its own.
    work = Path(tempfile.mkdtemp(prefix="snowglobe-training-"))
    try:
        _Session(work, tree, sysroot, code).run()
        for file in (work / "profile").rglob("*.gcda"):
            shutil.copyfile(file, code / file.relative_to(work / "profile"))
    finally:
        shutil.rmtree(work, ignore_errors=True)


class _Session:
    def __init__(self, work, tree, sysroot, code):
        self.work, self.usr = work, work / "usr"
        work.chmod(0o755)
        shutil.copytree(tree / "usr", self.usr, symlinks=True)
        libraries = work / "libraries"
        libraries.mkdir()
        for name in _LIBRARIES:
            file = next(f for f in (sysroot / "lib/i386-linux-gnu" / name,
                                    sysroot / "usr/lib/i386-linux-gnu" / name) if f.exists())
            shutil.copyfile(file, libraries / name)
        for file in self.usr.glob("lib/libpq.so.*"):
            shutil.copyfile(file, libraries / file.name)
        self.user = {}
        for name in ("profile", "home"):
            (work / name).mkdir()
        if os.geteuid() == 0:
            self.user = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
            for name in ("profile", "home"):
                os.chown(work / name, _NOBODY, _NOBODY)
        self.environment = {
            "LD_LIBRARY_PATH": str(libraries), "HOME": str(work / "home"), "PGHOST": str(work / "home"),
            "PGUSER": "postgres", "PGDATABASE": "postgres",
            # Where the counters go: /path/of/code/src/... becomes profile/src/...
            "GCOV_PREFIX": str(work / "profile"), "GCOV_PREFIX_STRIP": str(len(code.parts) - 1)}

    def program(self, name, *arguments):
        run([self.usr / "bin" / name, *arguments], env=self.environment, cwd=self.work / "home",
            **self.user)

    def run(self):
        self.program("initdb", "-D", "data", *_INITDB)
        # With some of the guest's settings: they choose plans, and what is logged.
        with self._server("-c", "max_parallel_workers_per_gather=0", "-c", "random_page_cost=1.1",
                          "-c", "max_parallel_maintenance_workers=0", "-c", "wal_level=logical",
                          "-c", "update_process_title=off"):
            script = shutil.copy(WORK / "training.sql", self.work)
            for _ in range(2):
                self.program("psql", "-qX", "-v", "ON_ERROR_STOP=1", "-v",
                             f"file={self.work / 'home/copied'}", "-o", "/dev/null", "-f", script)
            self._small_statements()

    def _small_statements(self):
        one = self.work / "one.sql"
        one.write_text("select 1;\n")
        self.program("pgbench", "-q", "-i", "-s", "1")
        for arguments in (["-S", "-t", "4000", "-M", "simple"], ["-S", "-t", "4000", "-M", "prepared"],
                          ["-S", "-t", "2000", "-M", "extended"], ["-t", "800", "-c", "2"],
                          ["-t", "800", "-c", "2", "-M", "prepared"], ["-t", "5000", "-f", one],
                          ["-S", "-C", "-t", "100"]):
            self.program("pgbench", "-n", *arguments)

    @contextlib.contextmanager
    def _server(self, *settings):
        server = subprocess.Popen(
            [self.usr / "bin/postgres", "-D", "data", "-c", "listen_addresses=",
             "-c", f"unix_socket_directories={self.work / 'home'}", "-c", "fsync=off",
             "-c", "huge_pages=off", *settings],
            env={**os.environ, **self.environment}, cwd=self.work / "home", stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **self.user)
        try:
            for _ in range(100):
                ready = subprocess.run([self.usr / "bin/pg_isready", "-q"], check=False,
                                       env={**os.environ, **self.environment})
                if ready.returncode == 0:
                    break
                time.sleep(0.1)
            yield
        finally:
            if server.poll() is None:
                server.terminate()
            output = server.communicate(timeout=60)[0]
        if server.returncode:
            raise BuildError("the server in training failed: " + output.decode(errors="replace"))
