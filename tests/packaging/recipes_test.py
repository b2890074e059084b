#!/usr/bin/env python3
# tests/packaging/recipes_test.py - what can be said of the vcpkg port and the Conan recipe without either tool: they
# parse, have the project's version, and name what the project's CMake looks for.

import ast
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGING = ROOT / "packaging"


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
    print("\n".join(wrong) if wrong else "the recipes agree with CMakeLists.txt")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
