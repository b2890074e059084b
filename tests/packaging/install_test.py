#!/usr/bin/env python3
# tests/packaging/install_test.py - installs a build into a temporary prefix, moves that once, and builds a project
# outside against it: by find_package and by pkg-config. Use: install_test.py BUILD [--shared] [--packages]
#
# --shared: a build of its own with BUILD_SHARED_LIBS, in a folder beside BUILD; ccache has most of it.
# --packages: also makes the .tar.gz and the .deb files and looks into them.

import argparse
import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent.parent
OUTSIDE = Path(__file__).resolve().parent / "outside"


def run(*command, environment=None, folder=None):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False,
                          env={**os.environ, **(environment or {})}, cwd=folder, timeout=1500)
    if done.returncode != 0:
        print(f"failed: {shlex.join(map(str, command))}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        sys.exit(1)
    return done.stdout


def expect(condition, what):
    if not condition:
        print(f"not so: {what}")
        sys.exit(1)


def shared_build(build):
    # As deep as the other one: ccache takes relative paths for a part of the command.
    folder = build.parent / (build.name + "-shared")
    run("cmake", "-S", SOURCE, "-B", folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=ON",
        "-DSNOWGLOBE_TESTS=OFF", "-DSNOWGLOBE_BENCH=OFF", "-DSNOWGLOBE_BUILD_TREE_IMAGE=")
    run("cmake", "--build", folder, "--target", "snowglobe", "snowglobe_cli")
    return folder


def check_program(program, prefix, image_is_beside, environment):
    """What it prints; without an image beside it, the error names each place that was tried."""
    if not image_is_beside:
        environment = {**environment, "SNOWGLOBE_IMAGE": str(prefix / "share/snowglobe")}
    said = run(program, environment=environment)
    expect("answer 42" in said, f"{program} answers 42: {said}")
    found = next(line for line in said.splitlines() if line.startswith("image "))
    expect(Path(found[6:]).resolve() == (prefix / "share/snowglobe").resolve(), f"{found} is in {prefix}")


@contextlib.contextmanager
def hidden_image(prefix):
    image = prefix / "share/snowglobe"
    hidden = prefix / "share/hidden"
    image.rename(hidden)
    yield
    hidden.rename(image)


def check_missing(program, prefix, environment):
    """Every place is named where no image is found."""
    image = prefix / "share/snowglobe"
    with hidden_image(prefix):
        done = subprocess.run([program], capture_output=True, text=True, check=False, timeout=300,
                              env={**os.environ, **environment, "SNOWGLOBE_IMAGE_PATH": "/nowhere/one:/nowhere/two",
                                   "XDG_CACHE_HOME": "/nowhere/cache", "HOME": "/nowhere/home"})
    wanted = ["/nowhere/one", "/nowhere/two", str(image), "/nowhere/cache/snowglobe/image"]
    # A program that was built in the tree has an image of the tree: only the library that was made to be moved has none.
    expect(done.returncode == 1, "a program without an image fails")
    for place in wanted:
        expect(place + "/manifest.json" in done.stderr, f"'{place}' is named in: {done.stderr}")


def by_cmake(prefix, work, shared):
    build = work / "by-cmake"
    languages = "C;CXX" if shared else "CXX"  # snowglobe::image is of either
    run("cmake", "-S", OUTSIDE, "-B", build, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefix}",
        "-DCMAKE_BUILD_TYPE=Debug", f"-DLANGUAGES={languages}")
    run("cmake", "--build", build)
    return build / "outside"


def check_alone(program, prefix, work, environment):
    """A program with the image inside needs none beside it, wherever it is."""
    moved = work / "elsewhere"
    shutil.move(program, moved)
    with hidden_image(prefix):
        said = run(moved, environment=environment)
    expect(said.splitlines() == ["image ", "answer 42"], f"the image in the program is used: {said}")


def by_pkg_config(prefix, work, shared):
    found = next(prefix.glob("lib/**/pkgconfig/snowglobe.pc"))
    environment = {"PKG_CONFIG_PATH": str(found.parent)}
    options = ["--cflags", "--libs"] + ([] if shared else ["--static"])
    flags = shlex.split(run("pkg-config", *options, "snowglobe", environment=environment))
    if not shared:
        # Some of what libpq names for itself is not installed, and not needed: libpq is shared.
        known = {"-lpq", "-lcrypto", "-lzstd", "-lxxhash", "-lsqlite3", "-lfmt", "-lZydis", "-lZycore", "-lsnowglobe"}
        flags = [flag for flag in flags if not flag.startswith("-l") or flag in known]
    program = work / "by-pkg-config"
    run("c++", "-std=c++20", OUTSIDE / "main.cc", "-o", program, *flags, "-pthread", "-ldl")
    return program


def check_packages(build, shared, image):
    folder = build / "packages"
    shutil.rmtree(folder, ignore_errors=True)
    run("cpack", "-G", "TGZ", folder=build)
    run("cpack", "-G", "DEB", folder=build)
    archives = [path.name for path in folder.glob("*.tar.gz")]
    expect(archives, "cpack makes a .tar.gz")
    packages = {path.name.split("_")[0]: path for path in folder.glob("*.deb")}
    wanted = {"libsnowglobe-dev", "snowglobe"} | ({"libsnowglobe0"} if shared else set())
    wanted |= {"snowglobe-image"} if image else set()
    expect(wanted <= set(packages), f"{wanted} are among {set(packages)}")
    files = {name: files_of(path) for name, path in packages.items()}
    for file in ("include/snowglobe.h", "include/snowglobe/snowglobe.hpp", "cmake/snowglobe/snowglobeConfig.cmake",
                 "cmake/snowglobe/snowglobeImage.cmake", "pkgconfig/snowglobe.pc"):
        expect(any(path.endswith(file) for path in files["libsnowglobe-dev"]), f"{file} is in libsnowglobe-dev")
    for file in ("/usr/bin/snowglobe", "/usr/share/man/man1/snowglobe.1"):
        expect(file in files["snowglobe"], f"{file} is in snowglobe")
    if image:
        for file in ("snowglobe/manifest.json", "snowglobe/ready.snap", "doc/snowglobe-image/README"):
            expect("/usr/share/" + file in files["snowglobe-image"], f"{file} is in snowglobe-image")
    check_lint(packages, files)
    depends = {name: run("dpkg-deb", "-f", path, "Depends") for name, path in packages.items()}
    if shared:
        expect(any(path.endswith("libsnowglobe.so.0") for path in files["libsnowglobe0"]), "the library is in libsnowglobe0")
        for name, wanted in (("libsnowglobe0", "libpq5"), ("snowglobe", "libsnowglobe0"), ("libsnowglobe-dev", "libsnowglobe0")):
            expect(wanted in depends[name], f"{name} needs {wanted}: {depends[name]}")
    else:
        expect("libpq5" in depends["snowglobe"], f"snowglobe needs libpq5: {depends['snowglobe']}")
    check_archive(next(folder.glob("*.tar.gz")))


def files_of(package):
    """Plain files and links, with their modes before them in check_lint()'s table."""
    lines = run("dpkg-deb", "-c", package).splitlines()
    return {line.split(None, 5)[5].split(" -> ")[0][1:]: line for line in lines if line[0] != "d"}


def check_lint(packages, files):
    """Some of what lintian would say."""
    for name, package in packages.items():
        for path, line in files[name].items():
            expect(path.startswith("/usr/"), f"{name}: {path} is below /usr")
            expect(line.split()[1] == "root/root", f"{name}: {line} is root's")
            expect(line[0] == "l" or line[8] == "-", f"{name}: {line} cannot be written by others")
            expect(("/bin/" in path or line[0] == "l" or ".so" in path) or line[3] == "-", f"{name}: {line} is no program")
        control = run("dpkg-deb", "-f", package)
        for field in ("Version: ", "Maintainer: ", "Section: ", "Description: ", "Installed-Size: "):
            expect(field in control, f"{name} has the field {field}")
    owner = {}
    for name in packages:
        for path in files[name]:
            expect(path not in owner, f"{path} is in {name} and in {owner.get(path)}")
            owner[path] = name


def check_archive(archive):
    """An archive that is unpacked anywhere works there."""
    with tempfile.TemporaryDirectory(prefix="snowglobe-archive-") as temporary:
        run("tar", "-xf", archive, "-C", temporary)
        command = next(Path(temporary).glob("*/bin/snowglobe"))
        said = run(command, "sql", "select 42 as answer",
                   environment={"SNOWGLOBE_IMAGE": "", "SNOWGLOBE_IMAGE_PATH": "", "XDG_CACHE_HOME": temporary})
        expect("42" in said, "the command of the archive finds library and image")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=Path)
    parser.add_argument("--shared", action="store_true")
    parser.add_argument("--packages", action="store_true")
    options = parser.parse_args()
    build = shared_build(options.build) if options.shared else options.build
    with tempfile.TemporaryDirectory(prefix="snowglobe-install-") as temporary:
        work = Path(temporary)
        for component in ("runtime", "devel", "image", "tools"):
            run("cmake", "--install", build, "--prefix", work / "first", "--component", component)
        prefix = work / "moved"
        (work / "first").rename(prefix)
        expect((prefix / "share/snowglobe/manifest.json").exists(), "the image was installed; ./dev guest makes it")
        # Not the caller's: only what was installed is looked at.
        environment = {"SNOWGLOBE_IMAGE": "", "SNOWGLOBE_IMAGE_PATH": "", "XDG_CACHE_HOME": str(work / "cache")}
        if options.shared:
            environment["LD_LIBRARY_PATH"] = str(next(prefix.glob("lib/**/libsnowglobe.so.0")).parent)
        outside = by_cmake(prefix, work, options.shared)
        for program in (outside, by_pkg_config(prefix, work, options.shared)):
            check_program(program, prefix, options.shared, environment)
            if options.shared:
                check_missing(program, prefix, environment)
        check_alone(outside.parent / "alone", prefix, work, environment)
        command = prefix / "bin/snowglobe"
        said = run(command, "sql", "select 42 as answer", environment={**environment, "LD_LIBRARY_PATH": ""})
        expect("42" in said, "the installed command finds library and image")
    if options.packages:
        check_packages(build, options.shared, True)
    print("everything installed is found")


if __name__ == "__main__":
    main()
