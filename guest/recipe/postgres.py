# guest/recipe/postgres.py - PostgreSQL with contrib for the guest, as i686 with SSE2.
#
# Debian's own i386 binaries do all floating point on the x87 and load 40 libraries; these need libc,
# libm, OpenSSL and zlib, and 10 to 40 % fewer instructions a query.

import os
import shutil
from pathlib import Path

from . import debian, training
from .cache import GUEST, cores, digest, run, stage

PATCHES = GUEST / "patches"

# -no-pie belongs to programs alone: in LDFLAGS it would break the shared modules.
_CFLAGS = "-O2 -march=pentium4 -mtune=generic -mfpmath=sse -fno-pie"
# Compiled once to see how it runs, and once more for that. The server is optimized as a whole as well.
_COUNTING = "COPT=-fprofile-generate"
_COUNTED = "COPT=-fprofile-use -fprofile-partial-training -Wno-missing-profile"
_WHOLE = " -flto=auto"
# Code and constants as one segment that begins at a multiple of 4 MiB, for the patch huge-text.
_SERVER_LAYOUT = ("-Wl,-z,noseparate-code -Wl,-z,max-page-size=0x400000 "
                  "-Wl,-Ttext-segment=0x8000000")
_CONFIGURE = ["--build=x86_64-linux-gnu", "--host=i686-linux-gnu", "--prefix=/usr",
              "--libdir=/usr/lib", "--sysconfdir=/etc/postgresql", "--without-readline",
              "--with-openssl", "--with-zlib", "--with-uuid=e2fs"]


def build(source, sysroot, icu=False):
    """`tree` (as installed, stripped), `symbols` (unstripped postgres), `testing` (see _tests)."""
    def make(folder):
        code = folder / "code"
        code.mkdir()
        tarball = next(source.glob("*.orig.tar.*"))
        run(["tar", "-xf", tarball, "--strip-components=1", "-C", code])
        for patch in sorted(PATCHES.glob("postgresql-*.patch")):
            run(["patch", "-p1", "--fuzz=0", "-i", patch], cwd=code)
        log = folder / "build.log"
        run(["./configure", *_CONFIGURE, "--with-icu" if icu else "--without-icu",
             f"CC=gcc -m32 --sysroot={sysroot}", "CXX=false", f"CFLAGS={_CFLAGS}",
             # configure tries these two by running a program, which it does not when crossing.
             "LDFLAGS=-Wl,--as-needed", f"LDFLAGS_EX_BE=-Wl,--export-dynamic {_SERVER_LAYOUT}",
             "LDFLAGS_EX=-no-pie", "ZIC=./zic",
             f"PKG_CONFIG_LIBDIR={sysroot}/usr/lib/i386-linux-gnu/pkgconfig",
             f"PKG_CONFIG_SYSROOT_DIR={sysroot}"], log, cwd=code)
        jobs = ["make", "-s", f"-j{cores()}"]
        _profile(code, folder / "counting", sysroot, jobs, log)
        run([*jobs, "-C", "src/timezone", "zic", "ZIC="], log, cwd=code)
        run([*jobs, "-C", "src/backend", "AR=gcc-ar", _COUNTED + _WHOLE], log, cwd=code)
        run([*jobs, "world-bin", "AR=gcc-ar", _COUNTED], log, cwd=code)
        run(["make", "-s", "install-world-bin", f"DESTDIR={folder / 'tree'}"], log, cwd=code)
        _tests(code, folder / "testing", jobs, log)
        (folder / "symbols").mkdir()
        shutil.copy(folder / "tree/usr/bin/postgres", folder / "symbols/postgres")
        for file in (folder / "tree").rglob("*"):
            if file.is_file() and not file.is_symlink() and file.open("rb").read(4) == b"\x7fELF":
                run(["strip", "--strip-unneeded", file])
        shutil.rmtree(code)
        log.unlink()
    key = digest(Path(__file__), Path(training.__file__), training.WORK,
                 *sorted(PATCHES.glob("postgresql-*.patch")), icu, debian.versions(source),
                 sysroot.name)
    return stage("postgres", key, "building PostgreSQL twice (about 10 minutes on two cores)", make)


def _profile(code, folder, sysroot, jobs, log):
    """Leaves the counts of a run of everything in `code`, which is otherwise as before."""
    run([*jobs, "-C", "src/timezone", "zic", "ZIC="], log, cwd=code)
    # libpq must not call exit(), and looks, unless it is told that there are counters: they do.
    counting = ["-C", "src", _COUNTING, "enable_coverage=yes"]
    run([*jobs, *counting], log, cwd=code)
    run(["make", "-s", *counting, "install", f"DESTDIR={folder}"], log, cwd=code)
    training.train(folder, sysroot, code)
    shutil.rmtree(folder)
    run(["make", "-s", "-C", "src", "clean"], log, cwd=code)


def _tests(code, folder, jobs, log):
    """What PostgreSQL's own suites need against a server elsewhere: the drivers (i686, they run on
    the host beside the psql of the same build), the test files, and the modules for the server."""
    run([*jobs, "-C", "src/test/regress", "all"], log, cwd=code)
    run([*jobs, "-C", "src/test/isolation", "all"], log, cwd=code)
    # The regression suite's triggers want refint to report what it does.
    run(["make", "-s", "-C", "contrib/spi", "clean"], log, cwd=code)
    run([*jobs, "-C", "contrib/spi", "CPPFLAGS=-D_GNU_SOURCE -DREFINT_VERBOSE"], log, cwd=code)
    regress, isolation = code / "src/test/regress", code / "src/test/isolation"
    server = folder / "server"
    server.mkdir(parents=True)
    for module in (regress / "regress.so", code / "contrib/spi/autoinc.so",
                   code / "contrib/spi/refint.so"):
        shutil.copy(module, server)
    drivers = folder / "bin"
    drivers.mkdir()
    for program in (regress / "pg_regress", isolation / "pg_isolation_regress",
                    isolation / "isolationtester"):
        shutil.copy(program, drivers)
    for origin, parts in ((regress, ["sql", "expected", "data", "parallel_schedule",
                                     "resultmap"]),
                          (isolation, ["specs", "expected", "isolation_schedule"])):
        target = folder / origin.name
        target.mkdir()
        for part in parts:
            copy = shutil.copytree if (origin / part).is_dir() else shutil.copy
            copy(origin / part, target / part)
    for file in folder.rglob("*"):
        if file.is_file():
            os.chmod(file, 0o755 if file.suffix == ".so" or file.parent == drivers else 0o644)
