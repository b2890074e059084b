#!/usr/bin/env python3
# tests/packaging/recipes_test.py - what can be said of the vcpkg port and the Conan recipe without either tool: they
# parse, have the project's version, and name what the project's CMake looks for; and run against stand-ins for the
# tools, what they export can be configured with the options that they give.

import ast
import json
import re
import shutil
import subprocess
import sys
import tempfile
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGING = ROOT / "packaging"


# What the port calls, as far as it matters: its options go to a real CMake.
VCPKG_STAND_IN = """
cmake_policy(VERSION 3.20)
function(vcpkg_check_features)
  set(FEATURE_OPTIONS -DSNOWGLOBE_CLI=OFF PARENT_SCOPE)
endfunction()
function(vcpkg_cmake_configure)
  cmake_parse_arguments(ARG "" "SOURCE_PATH" "OPTIONS" ${ARGN})
  execute_process(COMMAND ${CMAKE_COMMAND} -S ${ARG_SOURCE_PATH} -B ${BUILD} -G Ninja ${ARG_OPTIONS}
                  RESULT_VARIABLE failed ERROR_VARIABLE said OUTPUT_QUIET)
  if(failed OR said MATCHES "not used by the project")
    message(FATAL_ERROR "the port's options: ${said}")
  endif()
endfunction()
foreach(name vcpkg_cmake_install vcpkg_cmake_config_fixup vcpkg_fixup_pkgconfig vcpkg_copy_tools vcpkg_install_copyright)
  cmake_language(EVAL CODE "function(${name})\nendfunction()")
endforeach()
set(CURRENT_PACKAGES_DIR ${BUILD}/packages)
include(${CURRENT_PORT_DIR}/portfile.cmake)
"""


def configure_port(work):
    (work / "stand-in.cmake").write_text(VCPKG_STAND_IN)
    done = subprocess.run(["cmake", f"-DCURRENT_PORT_DIR={PACKAGING / 'vcpkg'}", f"-DBUILD={work / 'port'}", "-DPORT=snowglobe",
                           "-P", work / "stand-in.cmake"], capture_output=True, text=True, check=False, timeout=200)
    return [] if done.returncode == 0 else [f"vcpkg's port: {done.stderr[-2000:]}"]


def load_recipe(copy):
    """The recipe's class, with stand-ins for what it imports. `copy` is Conan's conan.tools.files.copy()."""
    class Anything:
        def __init__(self, *arguments):
            self.variables = {}

        def __getattr__(self, name):
            return lambda *arguments: None

    modules = {"conan": {"ConanFile": object}, "conan.tools": {}, "conan.tools.build": {"check_min_cppstd": None},
               "conan.tools.cmake": {"CMake": Anything, "CMakeDeps": Anything, "CMakeToolchain": Anything,
                                     "cmake_layout": None},
               "conan.tools.files": {"copy": copy}}
    for name, contents in modules.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(contents)
    scope = {}
    exec(compile((PACKAGING / "conan/conanfile.py").read_text(), "conanfile.py", "exec"), scope)
    return scope["SnowglobeConan"]


def configure_recipe(work):
    def copy(_, pattern, source, target):
        for found in Path(source).glob(pattern.replace("/*", "/**/*")):  # Conan's * stands for slashes as well
            place = Path(target) / found.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            if found.is_file():
                shutil.copy(found, place)

    recipe = load_recipe(copy)()
    recipe.recipe_folder, recipe.export_sources_folder = str(PACKAGING / "conan"), str(work / "exported")
    recipe.export_sources()
    wrong = [] if (work / "exported/LICENSE").exists() else ["conanfile.py exports no LICENSE"]
    done = subprocess.run(["cmake", "-S", work / "exported", "-B", work / "recipe", "-G", "Ninja", "-DSNOWGLOBE_TESTS=OFF",
                           "-DSNOWGLOBE_BENCH=OFF"], capture_output=True, text=True, check=False, timeout=200)
    return wrong + ([] if done.returncode == 0 else [f"what conanfile.py exports: {done.stderr[-2000:]}"])


def main():
    wrong = []
    header = (ROOT / "api/include/snowglobe/version.hpp").read_text()
    version = re.search(r'define SNOWGLOBE_VERSION "([^"]+)"', header)[1]
    parts = [re.search(rf"define SNOWGLOBE_VERSION_{name} (\d+)", header)[1] for name in ("MAJOR", "MINOR", "PATCH")]
    if ".".join(parts) != version:
        wrong.append("version.hpp contradicts itself")

    port = json.loads((PACKAGING / "vcpkg/vcpkg.json").read_text())
    if port["version"] != version:
        wrong.append(f"vcpkg.json has version {port['version']}, not {version}")
    recipe = (PACKAGING / "conan/conanfile.py").read_text()
    ast.parse(recipe)
    if f'version = "{version}"' not in recipe:
        wrong.append(f"conanfile.py has not the version {version}")

    # CMake's names of the libraries, as both tools call them.
    needed = {"fmt": "fmt", "PostgreSQL": "libpq", "nlohmann_json": "nlohmann-json", "OpenSSL": "openssl",
              "SQLite3": "sqlite3", "zydis": "zydis", "libzstd": "zstd", "libxxhash": "xxhash"}
    ours = {"Threads", "PkgConfig", "GTest", "CLI11", "Python3", "ASIO_INCLUDE_DIR"}
    files = [ROOT / "CMakeLists.txt"] + [ROOT / name / "CMakeLists.txt" for name in
                                         ("api", "base", "vm", "guestnet", "snapshots")]
    text = "\n".join(file.read_text() for file in files)
    found = set(re.findall(r"find_package\((\w+)", text))
    found |= set(re.findall(r"pkg_check_modules\(\w+ REQUIRED IMPORTED_TARGET (\w+)\)", text))
    for name in sorted(found - ours):
        if name not in needed:
            wrong.append(f"CMake looks for {name}, which the recipes do not know")
    dependencies = {d if isinstance(d, str) else d["name"] for d in port["dependencies"]} | {"asio"}
    for name in needed.values():
        if name not in dependencies:
            wrong.append(f"vcpkg.json lacks {name}")
        if not re.search(rf'"{name.replace("-", "_")}/', recipe):
            wrong.append(f"conanfile.py lacks {name}")
    with tempfile.TemporaryDirectory(prefix="snowglobe-recipes-") as work:
        wrong += configure_port(Path(work)) + configure_recipe(Path(work))
    print("\n".join(wrong) if wrong else "the recipes agree with CMakeLists.txt")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
