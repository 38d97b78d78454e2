"""Builds the image of the broker offline, by deploy/container/build, and writes a disk with it.

    PYTHONPATH=tests:client:broker python3 -P tests/vm/containers/image.py WHEEL DISK

The disk is an additional image store of podman (containers-storage.conf(5)). `podman load` would take minutes under
emulation.

WHEEL is the project's. Needs root, what tests/packages.txt lists for the suite `engines`, and a Python with pip and the
libraries of the broker. The base is kept in NSBROKER_IMAGE_CACHE.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from support import namespaces
from support.checkout import CHECKOUT
from support.documents import examples
from support.unified_podman import unified_podman


def main(wheel: Path, disk: Path) -> None:
    cache = os.environ.get("NSBROKER_IMAGE_CACHE", "/tmp/nsbroker-image")
    line = [CHECKOUT / "tests" / "engines" / "image" / "base", cache, sys.executable]
    made = Path(subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True).stdout.strip())
    base = "localhost/nsbroker-test-base"
    [example] = examples("sh image")
    # Short, because sockets are in it.
    with tempfile.TemporaryDirectory(prefix=namespaces.PREFIX, dir="/tmp", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        wheels = directory / "wheels"
        shutil.copytree(made / "wheels", wheels)
        shutil.copy(wheel, wheels)
        with unified_podman(directory) as podman:
            podman("import", str(made / "root.tar"), base)
            podman.build(shlex.split(example.text), base, wheels)
            podman("untag", base)
            subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", directory / "root", disk, "1G"], check=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
