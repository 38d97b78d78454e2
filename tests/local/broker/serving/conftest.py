"""The socket that the tests' hubs listen on, and their clocks."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsbrokerd.serving.turn_time import TurnTime, Usage


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "hub.sock"))
        listener.listen()
        yield listener


@pytest.fixture(autouse=True)
def _undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub with a clock of the test must not correct its times by those of a busy machine."""
    monkeypatch.setattr("nsbrokerd.serving.hub.TurnTime", lambda: TurnTime(lambda: Usage(0.0, 0)))
