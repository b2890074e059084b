# guest/recipe/kernel.py - the guest's kernel: tinyconfig, our fragment over it, and one driver.

import re
import shutil
from pathlib import Path

from . import debian
from .cache import GUEST, BuildError, cores, digest, run, stage

FRAGMENT = GUEST / "kernel.config"
PATCHES = sorted((GUEST / "patches").glob("linux-*.patch"))

# 400 MB of drivers whose Kconfig files are read and whose code is not.
_NEVER_COMPILED = ["*/Documentation/*/*", "*/drivers/gpu/drm/*.[ch]", "*/sound/*.[ch]",
                   "*/drivers/media/*.[ch]", "*/tools/perf/*", "*/tools/testing/*"]


def build(source):
    """vmlinux (stripped), System.map, bzImage (for QEMU), config, version."""
    def make(folder):
        tree = folder / "tree"
        tree.mkdir()
        deb = next(source.glob("*.deb"))
        run(["sh", "-ec", 'dpkg-deb --fsys-tarfile "$1" | tar -xO --wildcards "./usr/src/*.tar.xz" '
             '| tar -xJ --strip-components=1 -C "$2" ' +
             " ".join(f"--exclude='{pattern}'" for pattern in _NEVER_COMPILED), "sh", deb, tree])
        for patch in PATCHES:
            run(["patch", "-p1", "--fuzz=0", "-i", patch], cwd=tree)
        log = folder / "build.log"
        make_it = ["make", "-C", tree, "ARCH=i386", f"-j{cores()}", "KBUILD_BUILD_USER=snowglobe",
                   "KBUILD_BUILD_HOST=snowglobe", "KBUILD_BUILD_TIMESTAMP=@0"]
        run([*make_it, "tinyconfig"], log)
        run(["scripts/kconfig/merge_config.sh", "-m", "-Q", ".config", FRAGMENT], log, cwd=tree)
        run([*make_it, "olddefconfig"], log)
        _check((tree / ".config").read_text())
        run([*make_it, "vmlinux", "bzImage"], log)
        run(["strip", "-o", folder / "vmlinux", tree / "vmlinux"])
        shutil.copy(tree / "System.map", folder / "System.map")
        shutil.copy(tree / "arch/x86/boot/bzImage", folder / "bzImage")
        shutil.copy(tree / ".config", folder / "config")
        release = (tree / "include/config/kernel.release").read_text()
        (folder / "version").write_text(release)
        shutil.rmtree(tree)
        log.unlink()
    return stage("kernel", digest(FRAGMENT, *PATCHES, Path(__file__), debian.versions(source)),
                 "building the kernel (about 4 minutes on two cores)", make)


def _check(config):
    """Every line of the fragment must have survived the kernel's own resolution."""
    have = dict(re.findall(r"^(CONFIG_\w+)=(.*)$", config, re.MULTILINE))
    lost = []
    for line in FRAGMENT.read_text().splitlines():
        if match := re.fullmatch(r"(CONFIG_\w+)=(.*)", line):
            if have.get(match[1]) != match[2]:
                lost.append(f"{line} (is {have.get(match[1], 'not set')})")
        elif match := re.fullmatch(r"# (CONFIG_\w+) is not set", line):
            if match[1] in have:
                lost.append(f"{line} (is {have[match[1]]})")
    if lost:
        raise BuildError("kernel.config: not taken by this kernel: " + "; ".join(lost))
