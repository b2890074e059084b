# guest/recipe/sources.py - the corresponding sources of the image's GPL and LGPL parts, for who ships it.

import re
import shutil

from . import debian
from .cache import GUEST, BuildError, run, say

_README = """\
Sources of the Snowglobe guest image {identity}

The image contains programs under the GNU General Public License and the GNU Lesser General
Public License. This folder is what those licences ask to go with them:

  linux/    the kernel: Debian's source package as it was built, and the configuration
  busybox/  Debian's source package of busybox-static
  glibc/    Debian's source package of the C library (shared, and linked into busybox and init)
  recipe/   the scripts and configuration that build the image from these (see recipe/build),
            with the source of the agent, /sbin/init

Everything else in the image is under licences that do not ask for sources; manifest.json names them.
"""


def _source_of(deb):
    """Name and version of the source package a .deb was built from."""
    package, version, source = (run(["dpkg-deb", "-f", deb, field]).strip()
                                for field in ("Package", "Version", "Source"))
    if match := re.fullmatch(r"(\S+) \((\S+)\)", source):
        return match[1], match[2]
    return source or package, version


def _linked_in(deb):
    """(name, version) of what was linked statically into a .deb."""
    fields = run(["dpkg-deb", "-f", deb, "Built-Using", "Static-Built-Using"])
    return set(re.findall(r"([a-z0-9.+-]+) \(= ([^)\s]+)\)", fields))


def collect(output, identity, linux_source, kernel, i386, icu):
    output.mkdir(parents=True, exist_ok=True)
    (output / "README").write_text(_README.format(identity=identity))
    linux = output / "linux"
    linux.mkdir(exist_ok=True)
    for deb in linux_source.glob("*.deb"):
        shutil.copy(deb, linux)
    shutil.copy(kernel / "config", linux / "config")
    shutil.copytree(GUEST, output / "recipe", dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns("__pycache__"))

    wanted = {}
    for name in ["busybox-static", "libc6"] + (["libgcc-s1", "libstdc++6"] if icu else []):
        deb = next(i386.glob(f"{name}_*.deb"))
        source, version = _source_of(deb)
        wanted.setdefault((source, version), True)
        for part in _linked_in(deb):
            wanted.setdefault(part, False)
    apt = debian.Apt(debian.BINARY_SUITE, "i386")
    apt.update()
    missing = []
    for (source, version), needed in sorted(wanted.items()):
        folder = output / source
        folder.mkdir(exist_ok=True)
        say(f"fetching the source of {source} {version}")
        try:
            run(["apt-get", "-qq", "--download-only", "--only-source", "source",
                 f"{source}={version}"], quiet=True, cwd=folder, env=apt.environment)
        except BuildError:
            missing.append(f"{source} {version}")
            if needed:
                raise BuildError(f"the mirror does not serve the source of {source} {version}; run "
                                 "`guest/build --update` first") from None
    if missing:
        say("  not on the mirror (Debian keeps them at its snapshot archive): " + ", ".join(missing))
    say(f"sources are in {output}")
