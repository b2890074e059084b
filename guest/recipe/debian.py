# guest/recipe/debian.py - Debian packages through apt, with an apt state of our own.
#
# apt checks the archive's signatures; the system's sources, lists and caches are neither read nor
# written (only its proxy and access settings are used). The mirror is the one that the machine's apt
# is set to, or SNOWGLOBE_DEBIAN_MIRROR.

import json
import os
import re
import shutil
from pathlib import Path

from .cache import BuildError, cache_folder, digest, run, say, stage

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# The suite for what we compile ourselves, and the one whose C library the guest has. The latter is
# the host's, so that host and guest programs are built by the same compiler against the same glibc.
SOURCE_SUITE = "trixie"
BINARY_SUITE = "bookworm"

KERNEL_SOURCE = "linux-source-6.12"
POSTGRES_SOURCE = "postgresql-17"

# Unpacked into the sysroot that i686 programs are compiled against, and from which the root image
# takes its libraries.
I386_PACKAGES = ["busybox-static", "libc6", "libc6-dev", "libc-bin", "libcrypt1", "libcrypt-dev",
                 "libgcc-s1", "libssl3", "libssl-dev", "libuuid1", "linux-libc-dev", "uuid-dev",
                 "zlib1g", "zlib1g-dev"]
I386_ICU_PACKAGES = ["libicu72", "libicu-dev", "libstdc++6"]


def mirrors():
    """The archive's address and, where the machine knows one, the security archive's."""
    found = []
    parts = Path("/etc/apt/sources.list.d")
    listed = [Path("/etc/apt/sources.list")]
    listed += sorted(parts.glob("*.list")) + sorted(parts.glob("*.sources"))
    for file in listed:
        try:
            lines = file.read_text(errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            if match := re.match(r"deb(?:-src)?\s+(?:\[[^]]*\]\s+)?(\S+)\s+\S+", line):
                found.append(match[1])
            elif match := re.match(r"URIs:\s*(.*)", line, re.IGNORECASE):
                found += match[1].split()
    found = [address.rstrip("/") for address in found]
    archive = next((a for a in found if re.search(r"/debian$", a)), None)
    security = next((a for a in found if re.search(r"/debian-security$", a)), None)
    if chosen := os.environ.get("SNOWGLOBE_DEBIAN_MIRROR"):
        archive = chosen.rstrip("/")
    if not archive:
        raise BuildError("no Debian mirror found in /etc/apt; set SNOWGLOBE_DEBIAN_MIRROR to the "
                         "address of one (the part before /dists)")
    return archive, security


class Apt:
    """A private apt state for one suite and architecture."""

    def __init__(self, suite, architecture):
        if not Path(KEYRING).exists():
            raise BuildError(f"{KEYRING} is missing: install debian-archive-keyring")
        self.folder = cache_folder() / f"apt-{suite}-{architecture}"
        for part in ("lists/partial", "cache/archives/partial", "empty"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        (self.folder / "status").touch()
        self.suite = suite
        (self.folder / "apt.conf").write_text(self._settings(architecture))
        # apt reads APT_CONFIG first, then the system's folder of settings (proxies, access), then
        # Dir::Etc::main: ours, which so has the last word and can clear the system's hooks.
        (self.folder / "first.conf").write_text(f'Dir::Etc::main "{self.folder}/apt.conf";\n')
        self.environment = {"APT_CONFIG": str(self.folder / "first.conf")}
        self._updated = False

    def _settings(self, architecture):
        folder = self.folder
        system = '#include "/etc/apt/apt.conf"\n' if Path("/etc/apt/apt.conf").exists() else ""
        return f"""{system}
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets::deb::DEP-11;
Dir::State "{folder}";
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "{folder}/empty";
Dir::Etc::preferences "{folder}/empty/none";
Dir::Etc::preferencesparts "{folder}/empty";
APT::Architecture "{architecture}";
#clear APT::Architectures;
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "root";
APT::Get::List-Cleanup "true";
Acquire::Languages "none";
Acquire::Retries "3";
"""

    def update(self):
        if self._updated:
            return
        say(f"reading the package lists of {self.folder.name[4:]}")
        archive, security = mirrors()
        places = [(archive, self.suite), (archive, f"{self.suite}-updates")]
        more = [(security, f"{self.suite}-security")] if security else []
        try:
            self._read_lists(places + more, quiet=bool(more))
        except BuildError:
            if not more:
                raise
            # Seen on real mirrors for hours at a time. The suite itself is complete without it.
            say(f"  the mirror's {more[0][1]} can not be read just now; going on without it "
                "(`--update` later takes what is newer)")
            self._read_lists(places)
        self._updated = True

    def _read_lists(self, places, quiet=False):
        (self.folder / "sources.list").write_text("".join(
            f"{kind} [signed-by={KEYRING}] {address} {name} main\n"
            for address, name in places for kind in ("deb", "deb-src")))
        run(["apt-get", "-qq", "--error-on=any", "update"], quiet=quiet, env=self.environment)

    def _fetch(self, command, name, versions, folder):
        """Tries `versions`, newest first: mirrors list files now and then that they do not have."""
        newest_first = sorted(set(versions), key=_version_key, reverse=True)[:4]
        if not newest_first:
            raise BuildError(f"package {name} is not in {self.folder.name[4:]}")
        for version in newest_first:
            last = version == newest_first[-1]
            try:
                run(["apt-get", "-qq", *command, f"{name}={version}"], quiet=not last, cwd=folder,
                    env=self.environment)
                return version
            except BuildError:
                if last:
                    raise
                say(f"  the mirror lists {name} {version} but does not serve it; trying an older one")

    def download(self, name, folder):
        """Puts the newest .deb of `name` into `folder`; returns its version."""
        self.update()
        listing = run(["apt-cache", "madison", name], env=self.environment)
        found = [line.split("|")[1].strip() for line in listing.splitlines() if "Packages" in line]
        return self._fetch(["download"], name, found, folder)

    def source(self, name, folder):
        """Puts the newest source package of `name` (.dsc and tarballs) into `folder`."""
        self.update()
        listing = run(["apt-cache", "showsrc", "--only-source", name], env=self.environment)
        found = re.findall(r"^Version: (\S+)$", listing, re.MULTILINE)
        return self._fetch(["--download-only", "--only-source", "source"], name, found, folder)


def _version_key(version):
    """Good enough for versions of one package in one suite: numbers compare as numbers."""
    return [(int(p), "") if p.isdigit() else (-1, p) for p in re.findall(r"\d+|\D+", version)]


def packages(name, key, what, make, update):
    """A stage of downloads that records the versions it found in versions.json.

    The suite's state is no input: an image that was built stays good when the mirror moves on, until
    `update` asks for what is newest now.
    """
    folder = cache_folder() / f"{name}-{key}"
    if update and folder.is_dir():
        before = json.loads((folder / "versions.json").read_text())
        fresh = stage(f"{name}-new", key, what, make, again=True)
        if json.loads((fresh / "versions.json").read_text()) == before:
            shutil.rmtree(fresh)
            return folder
        shutil.rmtree(folder)
        fresh.rename(folder)
        return folder
    return stage(name, key, what, make)


def versions(folder):
    return json.loads((folder / "versions.json").read_text())


def kernel_source(update=False):
    def make(folder):
        apt = Apt(SOURCE_SUITE, "amd64")
        found = {KERNEL_SOURCE: apt.download(KERNEL_SOURCE, folder)}
        (folder / "versions.json").write_text(json.dumps(found))
    return packages("kernel-source", digest(SOURCE_SUITE, KERNEL_SOURCE),
                     f"downloading {KERNEL_SOURCE} (150 MB)", make, update)


def postgres_source(update=False):
    def make(folder):
        apt = Apt(SOURCE_SUITE, "amd64")
        found = {POSTGRES_SOURCE: apt.source(POSTGRES_SOURCE, folder)}
        (folder / "versions.json").write_text(json.dumps(found))
    return packages("postgres-source", digest(SOURCE_SUITE, POSTGRES_SOURCE),
                     f"downloading the source of {POSTGRES_SOURCE} (22 MB)", make, update)


def i386_packages(icu=False, update=False):
    names = I386_PACKAGES + (I386_ICU_PACKAGES if icu else [])

    def make(folder):
        apt = Apt(BINARY_SUITE, "i386")
        found = {name: apt.download(name, folder) for name in names}
        (folder / "versions.json").write_text(json.dumps(found))
    return packages("i386-packages", digest(BINARY_SUITE, names),
                     f"downloading {len(names)} i386 packages (C library, OpenSSL, busybox)", make,
                     update)


def sysroot(packages):
    """The i386 packages unpacked into one tree, with its links made relative."""
    def make(folder):
        for deb in sorted(packages.glob("*.deb")):
            run(["dpkg-deb", "--extract", deb, folder])
        for link in folder.rglob("*"):
            if link.is_symlink() and os.readlink(link).startswith("/"):
                target = folder / os.readlink(link)[1:]
                link.unlink()
                link.symlink_to(os.path.relpath(target, link.parent))
    # Not this file as a whole: PostgreSQL would be compiled again for a change of the apt state.
    return stage("sysroot", digest(versions(packages), "links made relative"),
                 "unpacking the i386 packages", make)
