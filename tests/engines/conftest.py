"""Real engines: a podman and a docker for this test run alone. They need root, and packages of the suite `engines`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from nsbrokerd.namespaces.engines import Engines
from support import namespaces
from support.brokers.process import BrokerProcess
from support.engines.broker import BrokerBeside
from support.engines.docker import Docker
from support.engines.place import BUSYBOX, PATIENCE_S, Place, engine_place
from support.engines.podman import Podman
from support.pods.containerd import CNI_PLUGINS, Containerd

Engine = Podman | Docker


def _need(*commands: str) -> None:
    """Skip the test if a command of the suite is missing."""
    for command in commands:
        if not shutil.which(command, path="/usr/sbin:/usr/bin:/sbin:/bin"):
            pytest.skip(f"there is no {command}: tests/run --engines installs it")


@pytest.fixture(scope="session")
def engine_host() -> Iterator[Place]:
    """The place of both engines: its network namespace is their host."""
    if reason := namespaces.why_not():
        pytest.skip(reason)
    _need(BUSYBOX, "nsenter")
    with engine_place() as place:
        yield place


@pytest.fixture(scope="session")
def podman_service(engine_host: Place) -> Iterator[Podman]:
    _need("podman", "runc", "conmon")
    with Podman(engine_host).running() as podman:
        yield podman


@pytest.fixture(scope="session")
def docker_service(engine_host: Place) -> Iterator[Docker]:
    _need("dockerd", "docker", "containerd", "runc")
    with Docker(engine_host).running() as docker:
        yield docker


@pytest.fixture
def podman(podman_service: Podman) -> Iterator[Podman]:
    """A podman without containers."""
    yield podman_service
    podman_service.remove_all()


@pytest.fixture
def docker(docker_service: Docker) -> Iterator[Docker]:
    """A docker without containers."""
    yield docker_service
    docker_service.remove_all()


@pytest.fixture(scope="session")
def containerd_service(engine_host: Place) -> Iterator[Containerd]:
    _need("containerd", "ctr", "runc", f"{CNI_PLUGINS}/bridge", f"{CNI_PLUGINS}/host-local")
    with Containerd(engine_host).running() as containerd:
        yield containerd


@pytest.fixture
def containerd(containerd_service: Containerd) -> Iterator[Containerd]:
    """A containerd without pods."""
    yield containerd_service
    containerd_service.remove_all()


@pytest.fixture(params=["podman", "docker"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each of the two engines."""
    found: Engine = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def broker(engine: Engine, engine_host: Place) -> Iterator[BrokerProcess]:
    """A broker beside the engine, which it may ask."""
    broker = BrokerBeside(engine_host, engine)
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


@pytest.fixture
def engines(engine: Engine, engine_host: Place) -> Engines:
    """The broker's side of the engine. Its own namespace is that of the engine's host."""
    return Engines({engine.engine: engine.socket}, engine_host.home, PATIENCE_S)
