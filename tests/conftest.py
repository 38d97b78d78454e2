"""Settings of all tests, and their fixtures."""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

import nsbroker
from support import namespaces
from support.brokers.process import EVERYTHING, BrokerProcess

LONG = os.environ.get("NSBROKER_LONG") == "1"

# The same examples every time, so that a failure is about the change at hand. The long run looks for new ones.
hypothesis.settings.register_profile("default", deadline=None, derandomize=True, database=None, max_examples=300)
hypothesis.settings.register_profile("long", deadline=None, max_examples=10_000, print_blob=True)
hypothesis.settings.load_profile("long" if LONG else "default")


@pytest.fixture(scope="session", autouse=True)
def _client_is_loaded() -> None:
    """Children that are another user may not be able to read the package: everything of it is loaded before."""
    for module in pkgutil.walk_packages(nsbroker.__path__, "nsbroker."):
        if "adapters" not in module.name and "__main__" not in module.name:
            with contextlib.suppress(ImportError):  # test_layers says which, and why
                importlib.import_module(module.name)


@pytest.fixture
def long() -> bool:
    """Whether the long version of a test is asked for: tests/run --long."""
    return LONG


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user can enter. Not one of pytest's: each pytest that starts closes theirs to others."""
    path = Path(tempfile.mkdtemp(prefix="nsbroker-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def make_namespace() -> Iterator[Callable[..., str]]:
    """Yield a function that makes a namespace with its loopback up, and returns its name. They end with the test."""
    if reason := namespaces.why_not():
        pytest.skip(reason)
    made: list[str] = []

    def make(label: str = "") -> str:
        name = f"{namespaces.PREFIX}{label or len(made)}"
        made.append(name)
        namespaces.make(name)
        return name

    yield make
    for name in made:
        if namespaces.exists(name):
            namespaces.delete(name)


@pytest.fixture
def start_broker() -> Iterator[Callable[..., BrokerProcess]]:
    """Yield a function that starts a broker with these grants and settings, as TOML. It ends with the test."""
    if reason := namespaces.why_not():
        pytest.skip(reason)
    brokers: list[BrokerProcess] = []

    def start(grants: str = EVERYTHING, settings: str = "") -> BrokerProcess:
        broker = BrokerProcess(grants, settings)
        brokers.append(broker)
        broker.start()
        return broker

    yield start
    for broker in brokers:
        broker.close()


@pytest.fixture
def broker(start_broker: Callable[..., BrokerProcess]) -> BrokerProcess:
    """A running broker that grants everything in @host and in the namespaces of `make_namespace`."""
    return start_broker()
