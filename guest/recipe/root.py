# guest/recipe/root.py - the read-only root file system: PostgreSQL, what it needs, busybox, the agent.

import re
import shutil
from pathlib import Path

from . import debian
from .cache import GUEST, BuildError, digest, run, stage

VERSION = "0.1"
OVERLAY = GUEST / "root"

# Of PostgreSQL's installation, what a running server and its tools do not need.
_LEFT_OUT = ["usr/bin/ecpg", "usr/bin/pg_config", "usr/bin/pg_test_fsync", "usr/bin/pg_upgrade",
             "usr/include", "usr/lib/pkgconfig", "usr/lib/postgresql/pgxs", "usr/share/doc"]
_LEFT_OUT_PATTERNS = ["usr/lib/*.a", "usr/lib/libecpg*", "usr/lib/libpgtypes*", "usr/lib/*.so"]

_FOLDERS = ["dev", "proc", "sys", "tmp", "run", "mnt", "srv", "opt", "usr/sbin", "var/lib/postgresql",
            "usr/lib/i386-linux-gnu"]
_LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "root": "run/root",
          "var/run": "../run", "var/tmp": "../tmp", "var/log": "../run/log",
          "etc/mtab": "../proc/self/mounts", "etc/resolv.conf": "../run/resolv.conf",
          "usr/lib/ssl": "../../etc/ssl"}


def _library(sysroot, name):
    for folder in ("lib/i386-linux-gnu", "usr/lib/i386-linux-gnu"):
        if (sysroot / folder / name).exists():
            return (sysroot / folder / name).resolve()
    return None


def _needed(file):
    return re.findall(r"\(NEEDED\).*\[(.*)\]", run(["readelf", "-d", file]))


def _is_elf(file):
    return file.is_file() and not file.is_symlink() and file.open("rb").read(4) == b"\x7fELF"


def _copy_libraries(root, sysroot):
    """The closure of what the programs need, out of the sysroot."""
    target = root / "usr/lib/i386-linux-gnu"
    wanted = []
    for file in root.rglob("*"):
        if _is_elf(file):
            wanted += _needed(file)
    while wanted:
        name = wanted.pop()
        if (target / name).exists() or (root / "usr/lib" / name).exists():
            continue
        if name == "ld-linux.so.2":
            shutil.copy(sysroot / "lib" / name, root / "usr/lib" / name)
            continue
        origin = _library(sysroot, name)
        if not origin:
            raise BuildError(f"library {name} is neither built nor in the i386 packages")
        shutil.copy(origin, target / name)
        wanted += _needed(target / name)


def _install_busybox(root, sysroot):
    shutil.copy(sysroot / "bin/busybox", root / "usr/bin/busybox")
    for path in run([sysroot / "bin/busybox", "--list-full"]).split():
        link = root / "usr" / path.removeprefix("usr/")
        if link.parent.name not in ("bin", "sbin") or link.exists() or link.is_symlink():
            continue
        link.symlink_to("busybox" if link.parent.name == "bin" else "../bin/busybox")


def tree(folder, postgres, sysroot, agent):
    """Puts the root file system together as a plain folder."""
    shutil.copytree(postgres / "tree", folder, symlinks=True, dirs_exist_ok=True)
    for path in _LEFT_OUT:
        target = folder / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    for pattern in _LEFT_OUT_PATTERNS:
        for target in folder.glob(pattern):
            target.unlink()
    for path in _FOLDERS:
        (folder / path).mkdir(parents=True, exist_ok=True)
    shutil.copytree(OVERLAY, folder, dirs_exist_ok=True)
    for path, target in _LINKS.items():
        (folder / path).symlink_to(target)
    shutil.copy(agent / "agent", folder / "usr/sbin/init")
    modules = "usr/lib/i386-linux-gnu/ossl-modules"
    (folder / modules).mkdir()
    shutil.copy(sysroot / modules / "legacy.so", folder / modules)
    shutil.copytree(sysroot / "usr/lib/locale/C.utf8", folder / "usr/lib/locale/C.utf8")
    _copy_libraries(folder, sysroot)
    _install_busybox(folder, sysroot)
    (folder / "etc/os-release").write_text(
        f'NAME="Snowglobe guest"\nID=snowglobe\nVERSION_ID={VERSION}\n'
        f'PRETTY_NAME="Snowglobe guest {VERSION}"\n')
    # A cache of the libraries' places: without it each program start tries a dozen folders a library.
    run([sysroot / "sbin/ldconfig", "-X", "-r", folder])
    shutil.rmtree(folder / "var/cache", ignore_errors=True)


def build(postgres, sysroot, agent):
    """`tree` (as a folder, for the native twin), `root.erofs`."""
    def make(folder):
        tree(folder / "tree", postgres, sysroot, agent)
        # Not compressed (lz4hc: 20 MB in place of 35): the guest would unpack it, which costs more
        # instructions than all the rest of its boot.
        run(["mkfs.erofs", "--all-root", "-T", "0", "-U", "5301091e-0000-4000-8000-000000000001",
             "-x", "-1", folder / "root.erofs", folder / "tree"])
    key = digest(OVERLAY, Path(__file__), postgres.name, sysroot.name, agent.name)
    return stage("root", key, "making the root image", make)


def client_libraries(usr, folder):
    """What the image's programs need to run on the host with the host's own i386 C library, whose
    loader only fits itself (Debian's libc6-i386)."""
    folder.mkdir()
    for place in (usr / "lib/i386-linux-gnu", usr / "lib"):
        for file in place.glob("*.so*"):
            if not re.match(r"(ld-linux|libc|libm|libgcc_s|libresolv|libnss_\w+)\.so", file.name):
                shutil.copy(file, folder / file.name)
