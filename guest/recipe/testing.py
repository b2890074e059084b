# guest/recipe/testing.py - what tests of the whole machine need beside the image.
#
# `testing/` is not part of the image. docs/guest.md tells how to run a suite from it.

import shutil
from pathlib import Path

from . import root
from .cache import GUEST, digest, stage

_PROGRAMS = ["psql", "pgbench", "pg_dump", "pg_restore", "pg_amcheck", "pg_checksums", "pg_isready"]


def build(postgres, root_image, agent):
    """PostgreSQL's test files and drivers, client programs of the same build, their libraries; the
    agent."""
    def make(folder):
        shutil.copytree(postgres / "testing", folder, dirs_exist_ok=True)
        for name in _PROGRAMS:
            shutil.copy(root_image / "tree/usr/bin" / name, folder / "bin" / name)
        shutil.copy(agent / "agent", folder / "bin/agent")
        root.client_libraries(root_image / "tree/usr", folder / "lib")
    key = digest(Path(__file__), GUEST / "recipe/root.py", postgres.name, root_image.name)
    return stage("testing", key, "putting the tests together", make)
