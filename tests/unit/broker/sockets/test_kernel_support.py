"""What the kernel can do is tried once, and only where a grant asks for it."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from nsbrokerd.policy import Grant, NamespaceRule, Policy
from nsbrokerd.policy.kinds import triples_of
from nsbrokerd.sockets.kernel_support import probe_kinds


def grant(*kinds: str) -> Grant:
    return Grant("some", None, frozenset(), NamespaceRule.parse(["*"]), frozenset(kinds))


def test_only_kinds_that_are_granted_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a kind that it does not have, the kernel loads a module; a host gets none that no grant asks for."""
    tried: list[tuple[int, int, int]] = []

    def refuse(*triple: int) -> None:
        tried.append(triple)  # type: ignore[arg-type]  # three numbers, as of socket(2)
        raise OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))

    monkeypatch.setattr(socket, "SocketType", refuse)
    missing = probe_kinds(Policy((grant("udplite"), grant("udplite", "raw:gre"))))
    assert sorted(tried) == sorted([*triples_of("udplite"), *triples_of("raw:gre")])
    assert missing == dict.fromkeys(tried, errno.EPROTONOSUPPORT)
