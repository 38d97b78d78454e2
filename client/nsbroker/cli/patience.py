"""Tells a person at a terminal what takes so long. A pipe gets no line."""

from __future__ import annotations

import os

from ..drivers.thread import Client
from .messages import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_STDERR = 2


def say_if_long(client: Client, namespace: str = "", wait_s: float = 0) -> None:
    """Let a client say so when a call takes more than a second.

    Args:
        client: the client.
        namespace: the namespace that its calls wait for.
        wait_s: for how many seconds they do.
    """
    if os.isatty(_STDERR):
        client.on_long_wait = lambda: say(_line(client, namespace, wait_s))


def teller(line: str) -> Callable[[], object] | None:
    """Return a function that says a line, or None without a terminal."""
    return (lambda: say(line)) if os.isatty(_STDERR) else None


def _line(client: Client, namespace: str, wait_s: float) -> str:
    if client.broker.is_away:
        return f"waiting for the broker at {client.path} to come back"
    if wait_s:
        return f"waiting for {namespace} for up to {wait_s:g} s"
    return f"waiting for the broker at {client.path} for up to {client.timeout:g} s"
