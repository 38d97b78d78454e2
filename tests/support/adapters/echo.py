"""Conversations with servers for the tests of event loops: one HTTP request, and lines that are echoed."""

from __future__ import annotations

import os
from typing import Protocol

REQUEST = b"GET /peer HTTP/1.0\r\nHost: www.example.org\r\n\r\n"
"""nginx answers with the address that it comes from."""


def body(response: bytes) -> str:
    return response.partition(b"\r\n\r\n")[2].decode()


def descriptors() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


class Closes(Protocol):
    def close(self) -> object: ...
