# guest/recipe/cluster.py - a fresh database cluster in an ext4 image: initdb has run, relcache files exist.

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from . import root as root_recipe
from . import sparse
from .cache import GUEST, BuildError, digest, run, stage

SETTINGS = GUEST / "cluster"

# 4 GiB, an allowance for what ext4 needs for itself, and the agent's reserve; whole block groups. Nothing of it is
# written: the cluster has 40 MB.
DISK_SIZE = 5248 << 20
_POSTGRES_UID = 70
_NOBODY = 65534

_INITDB = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8",
           "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--data-checksums",
           "--text-search-config=english",
           # A new segment is filled with zeros before use: 1 MiB keeps that pause, and the disk, small.
           "--wal-segsize=1", "--no-sync", "--no-instructions"]

# metadata_csum and 64bit would be computed by the guest and are of no use on a file of the host, which
# the snapshots check by themselves. Inode tables are written now (as holes), so that the guest's kernel
# has nothing to initialise behind the user's back. resize_inode lets the agent grow it.
_MKE2FS = ["-q", "-t", "ext4", "-O", "has_journal,^metadata_csum,^64bit,^orphan_file,resize_inode",
           "-J", "size=8", "-i", "32768", "-m", "0", "-b", "4096", "-L", "snowglobe-data",
           "-U", "5301091e-0000-4000-8000-000000000002",
           "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard,"
                 "hash_seed=5301091e-0000-4000-8000-000000000003"]


def build(root):
    """`cluster.disk.zst`."""
    def make(folder):
        # initdb refuses to be root; nobody may not enter root's cache. Hence a place of its own.
        work = Path(tempfile.mkdtemp(prefix="snowglobe-initdb-"))
        try:
            _fill(work, root / "tree")
            image = folder / "cluster.ext4"
            # Holes from the start: what mke2fs does not write, costs nothing.
            with open(image, "wb") as file:
                file.truncate(DISK_SIZE)
            run(["fakeroot", "sh", "-ec",
                 f'chown -R {_POSTGRES_UID}:{_POSTGRES_UID} "$1"; shift; exec mke2fs "$@"', "sh",
                 work / "disk", *_MKE2FS, "-d", work / "disk", image],
                env={"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
            sparse.pack(image, folder / "cluster.disk.zst")
            image.unlink()
        finally:
            shutil.rmtree(work, ignore_errors=True)
    key = digest(SETTINGS, Path(__file__), GUEST / "recipe/sparse.py", root.name)
    return stage("cluster", key, "making the database cluster", make)


def _fill(work, tree):
    """Leaves a stopped cluster in `work/disk/data`."""
    work.chmod(0o755)
    usr = work / "usr"
    shutil.copytree(tree / "usr", usr, symlinks=True)
    (work / "disk").mkdir(mode=0o755)
    sockets = work / "sockets"
    sockets.mkdir()
    user = {}
    if os.geteuid() == 0:
        user = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
        for path in (work, work / "disk", sockets):
            os.chown(path, _NOBODY, _NOBODY)
    # i386 programs run on the host as they are; libc comes from the host (the loader must match it),
    # the rest from the image.
    libraries = work / "libraries"
    root_recipe.client_libraries(usr, libraries)
    environment = {"LD_LIBRARY_PATH": str(libraries), "HOME": str(work),
                   "LOCPATH": str(usr / "lib/locale")}
    data = work / "disk/data"
    run([usr / "bin/initdb", "-D", data, *_INITDB], env=environment, cwd=work, **user)
    for name in ("postgresql.conf", "pg_hba.conf"):
        shutil.copyfile(SETTINGS / name, data / name)
    _connect_once(usr, data, sockets, environment, user)


def _connect_once(usr, data, sockets, environment, user):
    """The first session of a database writes files that speed up all later ones: have them written."""
    server = subprocess.Popen(
        [usr / "bin/postgres", "-D", data, "-c", "listen_addresses=", "-c", "huge_pages=off",
         "-c", "autovacuum=off", "-c", f"unix_socket_directories={sockets}"],
        env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, **user)
    try:
        connect = ["-h", sockets, "-U", "postgres"]
        for _ in range(100):
            ready = subprocess.run([usr / "bin/pg_isready", "-q", *connect],
                                   env={**os.environ, **environment}, check=False)
            if ready.returncode == 0:
                break
            time.sleep(0.1)
        # Else the first round of autovacuum would find every catalogue new: 200 million instructions.
        tidy = ["vacuum (freeze, analyze)", "vacuum (freeze) pg_catalog.pg_statistic"]
        for statement in [*tidy, "select 1"]:
            for database in ("template1", "postgres"):
                run([usr / "bin/psql", *connect, "-qAtX", "-d", database, "-c", statement],
                    env=environment, **user)
        run([usr / "bin/psql", *connect, "-qAtX", "-d", "postgres", "-c", "checkpoint"],
            env=environment, **user)
    finally:
        server.terminate() if server.poll() is None else None
        output = server.communicate(timeout=60)[0]
    if server.returncode:
        raise BuildError("the new cluster's server failed: " + output.decode(errors="replace"))
