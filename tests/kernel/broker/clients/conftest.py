"""A file system whose server does not answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.brokers.process import BrokerProcess
from support.fuse_server import FuseServer
from support.users import GROUP, USER


@pytest.fixture
def server(broker: BrokerProcess) -> Iterator[FuseServer]:
    directory = broker.directory / "fuse"
    directory.mkdir()
    with FuseServer(directory, USER, GROUP) as server:
        yield server
