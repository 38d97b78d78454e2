"""An adapter can't override a hook that its library no longer has."""

from __future__ import annotations

import smtplib
import subprocess
import sys

import pytest

from nsbroker.adapters._namespace import require


def test_missing_hook_is_refused() -> None:
    """Of a class, or of an object: to go on would mean sockets of the own namespace."""
    for owner in (smtplib.SMTP, smtplib.SMTP()):
        with pytest.raises(ImportError, match=r"this version of smtplib has no SMTP._no_such_hook: .* in a namespace"):
            require(owner, "_get_socket", "_no_such_hook")


def test_hook_that_is_there_is_fine() -> None:
    require(smtplib.SMTP, "_get_socket")


NEXT_TO_NIQUESTS = """
import urllib3
urllib3.AsyncPoolManager = object
import nsbroker.adapters.{}
"""


@pytest.mark.parametrize("adapter", ["urllib3", "requests"])
def test_urllib3_future_is_refused(adapter: str) -> None:
    """Niquests installs it in the place of urllib3. It makes its sockets elsewhere, and also those of QUIC."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", NEXT_TO_NIQUESTS.format(adapter)], capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1] == (
        "ImportError: this urllib3 is urllib3-future, which niquests installs over it: it makes its sockets in a way "
        "of its own, so they can't be kept in a namespace; use nsbroker.patch, or install niquests in another "
        "environment"
    )
