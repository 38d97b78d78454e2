"""Each side serves the previous release of the other one. tests/releases has its wheel, as it was published."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.brokers.process import BrokerProcess
from support.checkout import TESTS
from support.inside import cookie_here, cookie_inside
from support.namespaces import PREFIX
from support.releases import WHEELS, unpack

GRANT = f"""
[[grant]]
name = "some"
users = ["*"]
namespaces = ["{PREFIX}*", "@host"]
sockets = ["tcp", "udp"]
bind = ["*:80"]
"""


@pytest.fixture(params=WHEELS, ids=lambda wheel: wheel.name)
def previous(request: pytest.FixtureRequest, open_directory: Path) -> str:
    """The directory with the packages of the previous release."""
    return unpack(request.param, open_directory / "release")


def with_packages(packages: str) -> dict[str, str]:
    """Return an environment in which Python takes both packages from a directory."""
    environment = {**os.environ, "PYTHONPATH": packages}
    code = "import nsbroker, nsbrokerd; print(nsbroker.__file__, nsbrokerd.__file__)"
    found = subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout == f"{packages}/nsbroker/__init__.py {packages}/nsbrokerd/__init__.py\n"
    return environment


class BrokerOfRelease(BrokerProcess):
    """The broker of another release, in `packages`."""

    packages = ""

    def environment(self) -> dict[str, str]:
        return with_packages(self.packages)


def use(broker: BrokerProcess, environment: dict[str, str], make_namespace: Callable[..., str]) -> None:
    """Use a broker with the library of an environment, in every way of the protocol, and check the results."""
    blue, red, late = make_namespace("blue"), make_namespace("red"), f"{PREFIX}late"
    with subprocess.Popen(
        [sys.executable, "-P", str(TESTS / "support/releases/uses.py"), str(broker.socket_path), blue, red, late],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        make_namespace("late")
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    results: dict[str, Any] = json.loads(output)
    cookies = {name: cookie_inside(name) for name in (blue, red, late)}
    assert results == {
        "open": cookies[blue],
        "low port": 80,
        "kernel's error": [True, 1],
        "batch": [600, 600],
        "namespaces of a batch": [cookies[blue], cookies[red], cookie_here()] * 2,
        "sent descriptor": cookies[red],
        "waiting": cookies[late],
        "missing": ["NamespaceNotFoundError", 0],
        "denied": ["AccessDeniedError", 0],
        "list": True,
        "kinds": ["tcp", "udp"],
        "resolver": "/etc/resolv.conf",
        "name": "127.0.0.1",
        "left after close": 0,
    }


def test_there_is_a_previous_release() -> None:
    assert len(WHEELS) == 1


def test_client_of_the_previous_release_works(
    previous: str, start_broker: Callable[..., BrokerProcess], make_namespace: Callable[..., str]
) -> None:
    use(start_broker(GRANT), with_packages(previous), make_namespace)


def test_broker_of_the_previous_release_works(previous: str, make_namespace: Callable[..., str]) -> None:
    broker = BrokerOfRelease(GRANT)
    broker.packages = previous
    try:
        broker.start()
        use(broker, dict(os.environ), make_namespace)
    finally:
        broker.close()
