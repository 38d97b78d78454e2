"""Listing and revoking, as far as they need no kernel."""

from __future__ import annotations

import errno
import os
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from nsbrokerd.seal import Selection, bpf, layout, revoke
from nsbrokerd.seal import live as live_module
from nsbrokerd.seal.kernel import KernelLayout
from nsbrokerd.seal.programs.iterator import RECORD, LiveSocket


def live(**fields: object) -> LiveSocket:
    empty = LiveSocket(*RECORD.unpack(bytes(RECORD.size)))
    return empty._replace(**fields)


def test_sockets_that_share_a_cookie_are_all_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Linux 7.2, each socket that SCTP accepts has the cookie of its listener."""
    monkeypatch.setattr(bpf, "lookup", lambda *_: None)
    listener = live(cookie=7, state=10, local_port=80)
    first, second = (listener._replace(state=1, remote_port=port) for port in (b"\x10\0", b"\x10\1"))
    again = first._replace(flags=layout.REVOKED)
    named = live_module._name_all(SimpleNamespace(names=0), [listener, first, again, second])  # type: ignore[arg-type]
    assert [one._replace(grant="") for one in named] == [listener, first, second]


def test_only_a_final_refusal_of_listing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without memory, a reload fails, and the next one tries again."""
    numbers = [errno.ENOMEM, errno.EPERM]

    def refuse(*_: object) -> int:
        number = numbers.pop(0)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(live_module, "kernel_layout", lambda: KernelLayout({}, 1, {}))
    monkeypatch.setattr(live_module, "_why_not_loaded", cache(live_module._why_not_loaded.__wrapped__))
    monkeypatch.setattr(bpf, "load_program", refuse)
    with pytest.raises(OSError, match="Cannot allocate memory"):
        live_module._why_not_loaded()
    for _ in range(2):
        assert live_module._why_not_loaded() == "Operation not permitted"


def test_revocation_of_all_sockets_is_refused(tmp_path: Path) -> None:
    """A selection without a field would be all of them."""
    with pytest.raises(ValueError, match="all sockets"):
        revoke(tmp_path, Selection())
    assert revoke(tmp_path, Selection(uid=1000)) == []
