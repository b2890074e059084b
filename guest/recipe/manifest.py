# guest/recipe/manifest.py - the finished image: its files side by side, and manifest.json that describes them.
#
# What each key means is written in docs/guest.md; the host's reader in api/ depends on it.

import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

from . import debian, root
from .cache import digest, sha256, stage

FORMAT = 1

COMMAND_LINE = " ".join([
    "console=ttyS0", "quiet",               # the console is for what goes wrong
    "root=/dev/vda", "ro", "rootfstype=erofs", "init=/sbin/init",
    "tsc=reliable", "tsc_early_khz=1000000",  # CPUID says so as well; this is for QEMU and early code
    "reboot=t", "panic=-1",                 # the machine's end is a triple fault, at once
    "init_on_free=1",                       # what is free is zero, and costs a snapshot nothing
    "norandmaps",                           # the same layout in every start: translated code can be kept
    "dis_ucode_ldr",                        # no microcode to look for
    "random.trust_bootloader=on",           # the seed that the host passes at boot counts in full
])

# The least memory in which pgbench with four sessions passes, and what a host may give.
MEMORY = {"minimum": 48, "default": 256, "maximum": 1024}

_LICENCES = {
    "linux": "GPL-2.0-only WITH Linux-syscall-note",
    "postgresql": "PostgreSQL",
    "busybox": "GPL-2.0-only",
    "glibc": "LGPL-2.1-or-later",
    "openssl": "Apache-2.0",
    "zlib": "Zlib",
    "libuuid": "BSD-3-Clause",
    "agent": "MIT",
}


def _description(folder, versions):
    files = {}
    for name in ("vmlinux", "root.erofs", "cluster.disk.zst"):
        path = folder / name
        files[name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    with subprocess.Popen(["zstd", "-dqc", folder / "cluster.disk.zst"],
                          stdout=subprocess.PIPE) as zstd:
        _, _, extents, size = struct.unpack("<8sIIQ", zstd.stdout.read(24))
        data = sum(struct.unpack("<QQ", zstd.stdout.read(16))[1] for _ in range(extents))
        zstd.stdout.close()
    files["cluster.disk.zst"].update(disk_bytes=size, data_bytes=data)
    identity = hashlib.sha256(json.dumps([FORMAT, files, COMMAND_LINE]).encode()).hexdigest()[:32]
    return {
        "format": FORMAT,
        "image_id": identity,
        "version": root.VERSION,
        "architecture": "i686",
        "kernel": "vmlinux",
        "root": "root.erofs",
        "cluster": "cluster.disk.zst",
        "command_line": COMMAND_LINE,
        "memory_mib": MEMORY,
        "files": files,
        "versions": versions,
        "licences": _LICENCES,
    }


def _versions(kernel, i386, icu):
    packages = debian.versions(i386)
    found = {
        "linux": (kernel / "version").read_text().strip(),
        "busybox": packages["busybox-static"],
        "glibc": packages["libc6"],
        "openssl": packages["libssl3"],
        "zlib": packages["zlib1g"],
        "libuuid": packages["libuuid1"],
    }
    if icu:
        found["icu"] = packages["libicu72"]
        found["libstdc++"] = packages["libstdc++6"]
    return found


def build(kernel, postgres, postgres_source, i386, root_image, cluster_image, testing, icu):
    """The folder that `guest/build --output` copies."""
    def make(folder):
        for origin, names in ((kernel, ["vmlinux", "System.map", "bzImage"]),
                              (root_image, ["root.erofs"]), (cluster_image, ["cluster.disk.zst"])):
            for name in names:
                os.link(origin / name, folder / name)
                (folder / name).chmod(0o444)
        (folder / "kernel.config").symlink_to(kernel / "config")
        (folder / "root").symlink_to(root_image / "tree")
        (folder / "testing").symlink_to(testing)
        (folder / "symbols").symlink_to(postgres / "symbols")
        versions = _versions(kernel, i386, icu)
        source = debian.versions(postgres_source)[debian.POSTGRES_SOURCE]
        versions["postgresql"] = re.match(r"[\d.]+", source)[0]
        description = _description(folder, versions)
        if icu:
            description["licences"].update({
                "icu": "Unicode-3.0", "libstdc++": "GPL-3.0-or-later WITH GCC-exception-3.1"})
        (folder / "manifest.json").write_text(json.dumps(description, indent=2) + "\n")
        (folder / "manifest.json").chmod(0o444)
    key = digest(Path(__file__), kernel.name, postgres.name, root_image.name, cluster_image.name,
                 testing.name)
    return stage("image", key, "putting the image together", make)


def link(path, target):
    """A symbolic link, renewed only if it leads elsewhere."""
    if path.is_symlink() and os.readlink(path) == str(target):
        return
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def deliver(image, output):
    """Makes `output` show the image: hard links where the file system allows, else copies."""
    output.mkdir(parents=True, exist_ok=True)
    for item in image.iterdir():
        target = output / item.name
        if item.is_symlink():
            link(target, os.readlink(item))
            continue
        if target.exists() and not target.is_symlink():
            if os.path.samefile(target, item):
                continue
            have, want = target.stat(), item.stat()
            if (have.st_size, have.st_mtime_ns) == (want.st_size, want.st_mtime_ns):
                continue
        # Under another name first: whoever has the old file open keeps it, nobody sees half of one.
        fresh = output / f".{item.name}.new"
        fresh.unlink(missing_ok=True)
        try:
            os.link(item, fresh)
        except OSError:
            shutil.copy2(item, fresh)
        fresh.rename(target)
