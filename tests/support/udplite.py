"""UDP-Lite for tests: whether this kernel has it. Linux 7.1 removed it."""

from __future__ import annotations

import socket

import pytest

UDPLITE = 136
"""IPPROTO_UDPLITE. Source: include/uapi/linux/in.h."""


def why_not() -> str | None:
    """Return the reason why this kernel has no UDP-Lite, or None."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM, UDPLITE).close()
    except OSError as error:
        return f"this kernel has no UDP-Lite: {error.strerror}"
    return None


needs_udplite = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
