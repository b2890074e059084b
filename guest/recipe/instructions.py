# guest/recipe/instructions.py - the instruction tests of QEMU and valgrind as static i386 programs.
#
# They run in the guest as ordinary processes, in a folder that they can write to. `tests.json` lists
# them: for each the program, and the exit status, standard output and standard error that it must
# have: what this host's CPU gives. valgrind's tables decide by themselves (each line ends in "ok").

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

from . import debian
from .cache import BuildError, digest, run, stage

# Both, left out: what needs instructions that our CPUID does not grant (SSE3 and later), what is
# for 64 bits only, and what prints addresses, times or CPU identity.
_QEMU = ["f2xm1", "fbstp", "fldcst", "fp-exceptions", "fpatan", "fprem", "fscale", "fxam", "fxtract",
         "fyl2x", "fyl2xp1", "pseudo-denormal", "snan-convert", "sse-exceptions"]
_VALGRIND_TABLES = ["basic", "cmov", "fpu", "mmx", "mmxext", "sse", "sse2"]
_VALGRIND = ["aad_aam", "badseg", "bswapw", "bt_everything", "bt_literal", "bug125959-x86",
             "bug126147-x86", "bug132813-x86", "bug135421-x86", "bug137714-x86", "bug152818-x86",
             "cet_nops", "cmpxchg8b", "cse_fail", "faultstatus", "fcmovnu", "fpu_lazy_eflags",
             "fxtract", "getseg", "incdec_alt", "jcxz", "lahf", "looper", "movx", "pushpopseg",
             "sbbmisc", "shift_ndep", "smc1", "x86locked", "x87trigOOR", "xadd"]

# The self-modifying one has its code in data, which a host with NX refuses; the guest has none.
_EXPECTED_BY_VALGRIND = ["smc1"]

# Larger outputs (test-i386-fprem prints 66 MB) are kept as their hash alone.
_KEPT = 1 << 20


def _sources(update):
    def make(folder):
        apt = debian.Apt(debian.BINARY_SUITE, "i386")
        found = {name: apt.source(name, folder) for name in ("qemu", "valgrind")}
        (folder / "versions.json").write_text(json.dumps(found))
    return debian.packages("test-sources", digest(debian.BINARY_SUITE, "qemu", "valgrind"),
                           "downloading the sources of QEMU and valgrind (35 MB)", make, update)


def build(sysroot, update=False):
    """`bin/`, `expected/`, `tests.json`."""
    sources = _sources(update)

    def make(folder):
        work = folder / "work"
        for name, tests in (("qemu", "*/tests/tcg/i386"), ("valgrind", "*/none/tests/x86")):
            (work / name).mkdir(parents=True)
            run(["tar", "-xf", next(sources.glob(f"{name}_*.orig.tar.*")), "-C", work / name,
                 "--strip-components=1", "--wildcards", tests,
                 *(["*/tests", "*/include"] if name == "valgrind" else [])])
        (folder / "bin").mkdir()
        (folder / "expected").mkdir()
        compiler = ["gcc", "-m32", f"--sysroot={sysroot}", "-static", "-no-pie", "-fno-pie", "-w",
                    "-Wl,--no-warn-execstack,--no-warn-rwx-segments"]
        tests = [*_qemu(work / "qemu/tests/tcg/i386", folder, compiler),
                 *_valgrind(work / "valgrind", folder, compiler)]
        (folder / "tests.json").write_text(json.dumps(tests, indent=1) + "\n")
        shutil.rmtree(work)
    return stage("instructions", digest(Path(__file__), debian.versions(sources), sysroot.name),
                 "building the instruction tests", make)


def _without_sse4(code):
    """test-i386-sse-exceptions: a check begins by loading MXCSR; drops those of roundss and roundsd."""
    checks = re.split(r'(?=    __asm__ volatile \("ldmxcsr)', code)
    return "".join(check for check in checks if '"round' not in check)


def _qemu(origin, folder, compiler):
    sse = origin / "test-i386-sse-exceptions.c"
    sse.write_text(_without_sse4(sse.read_text()))
    for name in _QEMU:
        mathematics = "sse" if name.startswith("sse") else "387"
        program = f"test-i386-{name}"
        run([*compiler, "-O2", "-msse2", f"-mfpmath={mathematics}", "-o", folder / "bin" / program,
             origin / f"{program}.c", "-lm"])
        yield _record(folder, program)
    # 16-bit segments are not configured in the guest's kernel.
    main = origin / "test-i386.c"
    main.write_text(re.sub(r"\n    test_code16\(\);", "\n", main.read_text()))
    run([*compiler, "-O2", "-o", folder / "bin/test-i386", main, origin / "test-i386-code16.S",
         origin / "test-i386-vm86.S", "-lm"])
    yield _record(folder, "test-i386")


def _valgrind(tree, folder, compiler):
    origin = tree / "none/tests/x86"
    (tree / "config.h").touch()
    compiler = [*compiler, "-O", "-mmmx", "-msse", "-msse2", f"-I{tree}", f"-I{tree}/include"]
    for name in _VALGRIND_TABLES:
        code = origin / f"insn_{name}.c"
        with open(origin / f"insn_{name}.def") as table, open(code, "w") as generated:
            if subprocess.run(["perl", origin / "gen_insn_test.pl"], stdin=table, stdout=generated,
                              stderr=subprocess.DEVNULL, check=False).returncode:
                raise BuildError(f"valgrind's table insn_{name}.def could not be translated")
        run([*compiler, "-o", folder / f"bin/valgrind-insn_{name}", code, "-lm"])
        yield _record(folder, f"valgrind-insn_{name}")
    for name in _VALGRIND:
        run([*compiler, "-o", folder / f"bin/valgrind-{name}", origin / f"{name}.c", "-lm"])
        expected = None
        if name in _EXPECTED_BY_VALGRIND:
            expected = (origin / f"{name}.stdout.exp").read_bytes()
        yield _record(folder, f"valgrind-{name}", expected)


def _record(folder, program, output=None):
    """Runs a program on this host; returns its entry of tests.json."""
    status, errors = 0, b""
    if output is None:
        result = subprocess.run([folder / "bin" / program], stdin=subprocess.DEVNULL, cwd=folder,
                                capture_output=True, timeout=120, check=False)
        output, errors, status = result.stdout, result.stderr, result.returncode
        if status < 0:
            raise BuildError(f"{program} ended by signal {-status} on this host")
    entry = {"name": program, "program": f"bin/{program}", "status": status,
             "stderr": errors.decode(errors="replace"),
             "bytes": len(output), "sha256": hashlib.sha256(output).hexdigest()}
    if len(output) <= _KEPT:
        (folder / "expected" / program).write_bytes(output)
        entry["expected"] = f"expected/{program}"
    return entry
