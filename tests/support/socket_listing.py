"""Whether this kernel lets root list sealed sockets. Some refuse all programs that look at the kernel's objects."""

from __future__ import annotations

import os

import pytest

from nsbrokerd.seal import why_not_listed


def why_not() -> str | None:
    """Return why sealed sockets can't be listed here, or None if they can."""
    if os.geteuid() != 0:
        return "listing sealed sockets takes root"
    try:
        reason = why_not_listed()
    except OSError as error:
        reason = str(error)
    return reason and f"this kernel can't list sealed sockets: {reason}"


needs_listing = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
