"""`listen --accept` gives a command the name of the peer of a Unix socket."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from nsbroker.cli import launch

UNIQUE = f"\0nsbt-{os.getpid()}-".encode()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (b"", None),
        (UNIQUE + b"peer", f"@{UNIQUE[1:].decode()}peer"),
        (UNIQUE + b"\xff\n", f"@{UNIQUE[1:].decode()}\udcff\n"),
        (UNIQUE + b"\0null", None),
    ],
)
def test_name_of_a_unix_peer_is_told_where_a_variable_can_hold_it(
    monkeypatch: pytest.MonkeyPatch, name: bytes, told: str | None
) -> None:
    """Whatever it is, the command can run."""
    assert remote_address(monkeypatch, name) == told


def test_path_of_a_unix_peer_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert remote_address(monkeypatch, bytes(tmp_path / "peer")) == str(tmp_path / "peer")


def remote_address(monkeypatch: pytest.MonkeyPatch, name: bytes) -> str | None:
    monkeypatch.delenv("REMOTE_ADDR", raising=False)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(UNIQUE + b"listener")
        listener.listen()
        if name:
            client.bind(name)
        client.connect(UNIQUE + b"listener")
        connection, _ = listener.accept()
        with connection:
            launch.name_peer(connection)
    told = os.environ.get("REMOTE_ADDR")
    monkeypatch.setenv("REMOTE_ADDR", "")  # For monkeypatch to take away.
    return told
