"""An adapter can't override a hook that its library no longer has."""

from __future__ import annotations

import smtplib

import pytest

from nsbroker.adapters._namespace import require


def test_missing_hook_is_refused() -> None:
    """Of a class, or of an object: to go on would mean sockets of the own namespace."""
    for owner in (smtplib.SMTP, smtplib.SMTP()):
        with pytest.raises(ImportError, match=r"this version of smtplib has no SMTP._no_such_hook: .* in a namespace"):
            require(owner, "_get_socket", "_no_such_hook")


def test_hook_that_is_there_is_fine() -> None:
    require(smtplib.SMTP, "_get_socket")
