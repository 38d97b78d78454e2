"""Listing and revoking, as far as they need no kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsbrokerd.seal import Selection, revoke


def test_revocation_of_all_sockets_is_refused(tmp_path: Path) -> None:
    """A selection without a field would be all of them."""
    with pytest.raises(ValueError, match="all sockets"):
        revoke(tmp_path, Selection())
    assert revoke(tmp_path, Selection(uid=1000)) == []
