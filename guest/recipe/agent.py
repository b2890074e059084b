# guest/recipe/agent.py - PID 1 of the guest, one static program.

from pathlib import Path

from . import debian
from .cache import GUEST, digest, run, stage

SOURCES = GUEST / "agent"
_FLAGS = ["-std=gnu17", "-O2", "-march=pentium4", "-mtune=generic", "-Wall", "-Wextra",
          "-Wconversion", "-Wshadow", "-Werror", "-static", "-no-pie", "-fno-pie",
          "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64", "-D_TIME_BITS=64"]


def build(sysroot):
    """`agent` (stripped)."""
    files = sorted(SOURCES.glob("*.[ch]"))

    def make(folder):
        run(["gcc", "-m32", f"--sysroot={sysroot}", *_FLAGS, "-s", "-o", folder / "agent",
             *(file for file in files if file.suffix == ".c")])
    return stage("agent", digest(*files, Path(__file__), sysroot.name), "building the agent", make)
