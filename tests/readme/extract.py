#!/usr/bin/env python3
# tests/readme/extract.py - the C++ snippets of a Markdown file as programs: extract.py FILE OUTPUT.cc
#
# Snippets with a main() are left as they are, each in a namespace of its own; the others are statements, and get a
# main() around them with what a reader has in mind: a database `db` with a table `t`, and a working folder of their
# own. The program's argument says which one to run (from 1 on).

import re
import sys
from pathlib import Path


def snippets(text):
    """Of a file: (line, code)."""
    for match in re.finditer(r"^```cpp\n(.*?)^```", text, re.M | re.S):
        yield text[:match.start()].count("\n") + 2, match[1]


def main():
    source, output = Path(sys.argv[1]), Path(sys.argv[2])
    text = source.read_text()
    includes = {"#include <snowglobe/snowglobe.hpp>", "#include <cstdlib>", "#include <iostream>"}
    functions, cases = [], []
    for number, (line, code) in enumerate(snippets(text), 1):
        includes |= set(re.findall(r"^#include .*$", code, re.M))
        code = re.sub(r"^#include .*\n", "", code, flags=re.M)
        place = f'#line {line} "{source.name}"\n'
        if re.search(r"^int main\(", code, re.M):
            body = code.replace("int main(", "int run(").rstrip().removesuffix("}")
            functions.append(f"namespace snippet_{number} {{\n{place}{body}return 0;\n}}\n}}\n")
        else:
            functions.append(
                f"namespace snippet_{number} {{\nint run() {{\n"
                "auto db = snowglobe::Database::open_in_memory();\n"
                'db.script("create table t(id int primary key, name text); insert into t values (1, \'Ada\')");\n'
                f"{{\n{place}{code}}}\nreturn 0;\n}}\n}}\n")
        cases.append(f"case {number}: return snippet_{number}::run();\n")
    if not cases:
        sys.exit(f"{source} has no snippets")
    output.write_text(
        "\n".join(sorted(includes)) + "\n\n" + "\n".join(functions) +
        "\nint main(int count, char** arguments) {\n  switch (count > 1 ? std::atoi(arguments[1]) : 0) {\n" +
        "".join(cases) + "default: return 99;\n}\n}\n")
    print(len(cases))


if __name__ == "__main__":
    main()
