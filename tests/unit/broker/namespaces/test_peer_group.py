"""The broker tells the peer group from which its mount of /run/netns gets new mounts."""

from __future__ import annotations

import pytest

from nsbrokerd.namespaces import peer_group


@pytest.mark.parametrize(("groups", "told"), [((7, 0), 7), ((0, 5), 5), ((7, 5), 7), ((0, 0), 0)])
def test_group_is_that_of_the_mount(monkeypatch: pytest.MonkeyPatch, groups: tuple[int, int], told: int) -> None:
    """The shared one comes first, because its members can mount names that the master's do not see."""
    monkeypatch.setattr(peer_group, "_known", (0.0, 0))
    monkeypatch.setattr(peer_group, "NETNS_DIRECTORY", "/")
    monkeypatch.setattr(peer_group, "read_groups", lambda _lines, _mount: groups)
    assert peer_group.peer_group() == told


def test_missing_directory_has_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_group, "_known", (0.0, 0))
    monkeypatch.setattr(peer_group, "NETNS_DIRECTORY", "/no/such/directory")
    assert peer_group.peer_group() == 0
