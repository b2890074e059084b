# guest/recipe/cache.py - the cache of the guest's build: stages, each under a hash of its inputs.
#
# A stage is a folder `<cache>/<name>-<hash>` that is either complete or not there: it is made under a
# temporary name and renamed at the end. What goes into the hash is all that the stage depends on, and
# nothing else, so that a change of the agent does not build the kernel again.

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GUEST = Path(__file__).resolve().parent.parent

# An image that is in use somewhere has its stages' times renewed by each build of it.
_KEPT_SECONDS = 60 * 24 * 3600

_started = time.monotonic()


class NotCached(Exception):
    """A stage must be made, and this process does not hold the lock."""


class BuildError(Exception):
    """What went wrong and what to do about it, in one or two sentences for the user."""


def say(text):
    """One line about a step, with the seconds since the start."""
    print(f"guest: {time.monotonic() - _started:6.1f} s  {text}", flush=True)


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "snowglobe" / "guest"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def digest(*parts):
    """A short hash over strings, JSON-able values and files (a Path stands for its contents)."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            files = [part] if part.is_file() else sorted(p for p in part.rglob("*") if p.is_file())
            for file in files:
                if "__pycache__" in file.parts:
                    continue
                name = file.relative_to(GUEST) if file.is_relative_to(GUEST) else file.name
                executable = os.access(file, os.X_OK)
                total.update(f"{name} {executable} {file.stat().st_size}\n".encode())
                total.update(file.read_bytes())
        else:
            total.update(json.dumps(part, sort_keys=True).encode() + b"\n")
    return total.hexdigest()[:16]


def sha256(path):
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


_holds_lock = False


@contextlib.contextmanager
def only_builder():
    """Holds the cache's lock: one build at a time, the others wait and then find the work done. Whoever
    finds all stages made needs no lock."""
    global _holds_lock
    with open(cache_folder() / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build is running; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        _holds_lock = True
        try:
            yield
        finally:
            _holds_lock = False


@contextlib.contextmanager
def scratch(name):
    """A working folder in the cache that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=f"tmp-{name}-", dir=cache_folder()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep():
    """Removes what interrupted builds left, and stages that no build has used for long. Requires the
    lock."""
    for leftover in cache_folder().glob("tmp-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    for folder in cache_folder().iterdir():
        if folder.is_dir() and time.time() - folder.stat().st_mtime > _KEPT_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def stage(name, key, what, make, again=False):
    """Returns the folder of stage `name` for `key`; calls `make(folder)` first if it is not there.

    `again` makes it even if it is there; the new one takes the old one's place.
    """
    final = cache_folder() / f"{name}-{key}"
    if final.is_dir() and not again:
        os.utime(final)
        return final
    if not _holds_lock:
        raise NotCached
    say(what)
    before = time.monotonic()
    work = Path(tempfile.mkdtemp(prefix=f"tmp-{name}-", dir=cache_folder()))
    work.chmod(0o755)
    try:
        make(work)
        if final.is_dir():
            final.rename(Path(tempfile.mkdtemp(prefix="tmp-old-", dir=cache_folder())) / "old")
        os.utime(work)  # unpacking an archive may have made it look old
        work.rename(final)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    say(f"  {name} done in {time.monotonic() - before:.0f} s")
    return final


def run(command, log=None, quiet=False, **options):
    """Runs a program. Its output goes to `log` (a path); else it is shown if it fails, unless `quiet`."""
    command = [str(word) for word in command]
    environment = dict(os.environ, LC_ALL="C", TZ="UTC")
    environment.update(options.pop("env", {}))
    if log:
        with open(log, "ab") as file:
            result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file,
                                    stderr=subprocess.STDOUT, env=environment, **options)
        if result.returncode:
            shown = b"\n".join(Path(log).read_bytes().splitlines()[-40:])
    else:
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True,
                                env=environment, **options)
        shown = b"\n".join((result.stdout + result.stderr).splitlines()[-40:])
    if result.returncode:
        if not quiet:
            sys.stderr.write(shown.decode(errors="replace") + "\n")
        raise BuildError(f"`{' '.join(command)[:300]}` failed with status {result.returncode}")
    return result.stdout.decode(errors="replace") if not log else None


def cores():
    return len(os.sched_getaffinity(0))
