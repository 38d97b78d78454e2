"""The fixtures that these tests share: an engine that answers any bytes, and the broker's side of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsbrokerd.namespaces.engines import Engines
from nsbrokerd.namespaces.engines.docker_api import DockerApi
from nsbrokerd.namespaces.file_identity import Identity, identify
from support.engines.fake import FakeEngine, fake_engine


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeEngine]:
    with fake_engine(tmp_path / "engine.sock") as engine:
        yield engine


@pytest.fixture
def podman(fake: FakeEngine) -> DockerApi:
    return DockerApi("podman", fake.path)


@pytest.fixture
def home() -> Identity:
    fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return identify(fd)
    finally:
        os.close(fd)


@pytest.fixture
def engines(fake: FakeEngine, home: Identity) -> Engines:
    return Engines({"podman": fake.path}, home)
