"""Podman on a host with control groups of version 2, and the image of the broker. They need root and some commands."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import namespaces
from support.checkout import CHECKOUT
from support.container_broker import ContainerBroker
from support.documents import examples
from support.unified_podman import UnifiedPodman, unified_podman

RUNTIMES = ("crun", "runc")
COMMANDS = ("podman", "buildah", "crun", "runc", "conmon", "debootstrap", "nsenter", "gcc")


@pytest.fixture(scope="session")
def podman() -> Iterator[UnifiedPodman]:
    if reason := namespaces.why_not():
        pytest.skip(reason)
    for command in COMMANDS:
        if not shutil.which(command, path="/usr/sbin:/usr/bin:/sbin:/bin"):
            pytest.skip(f"there is no {command}: tests/run installs it")
    directory = Path(f"/tmp/{namespaces.PREFIX}podman")  # short, because sockets are in it
    directory.mkdir()
    try:
        with unified_podman(directory) as started:
            yield started
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def image(podman: UnifiedPodman, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image, built offline by deploy/container/build."""
    cache = os.environ.get("NSBROKER_IMAGE_CACHE", "/tmp/nsbroker-image")
    line = [CHECKOUT / "tests" / "engines" / "image" / "base", cache, sys.executable]
    made = Path(subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True).stdout.strip())
    base = "localhost/nsbroker-test-base"
    (podman.directory / "quadlet").symlink_to(made / "quadlet")
    podman("import", str(made / "root.tar"), base)
    wheels = tmp_path_factory.mktemp("wheels")
    shutil.copytree(made / "wheels", wheels, dirs_exist_ok=True)
    line = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels]
    subprocess.run([*line, CHECKOUT], check=True)
    [example] = examples("sh image")
    podman.build(shlex.split(example.text), base, wheels)
    return "localhost/nsbroker"


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest, podman: UnifiedPodman) -> UnifiedPodman:
    """Podman with each of the two runtimes."""
    return podman.with_runtime(request.param)


@pytest.fixture
def make(image: str) -> Iterator[Callable[..., ContainerBroker]]:
    """Return brokers that are not started. They end with the test."""
    with contextlib.ExitStack() as stack:

        def new(podman: UnifiedPodman, grants: str) -> ContainerBroker:
            broker = ContainerBroker(podman, image, grants)
            stack.callback(broker.close)
            return broker

        yield new
