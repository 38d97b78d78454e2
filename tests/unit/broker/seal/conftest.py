"""The lists of the seal, without a kernel."""

from __future__ import annotations

import pytest

from nsbrokerd.seal import aborting, needed
from nsbrokerd.seal.programs.associations import Association
from nsbrokerd.seal.programs.iterator import LiveSocket


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> list[LiveSocket]:
    """The sockets in use. They have no associations."""
    listed: list[LiveSocket] = []
    monkeypatch.setattr(
        needed, "all_live", lambda _maps, protocol=None: [one for one in listed if protocol in (None, one.protocol)]
    )
    for module in (needed, aborting):
        monkeypatch.setattr(module, "list_associations", lambda _maps: set())
    return listed


@pytest.fixture
def listed(sockets: list[LiveSocket], monkeypatch: pytest.MonkeyPatch) -> set[Association]:
    """The associations of stopped sockets."""
    assert sockets == []
    found: set[Association] = set()
    for module in (needed, aborting):
        monkeypatch.setattr(module, "list_associations", lambda _maps: set(found))
    return found
