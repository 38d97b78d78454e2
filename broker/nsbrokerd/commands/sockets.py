"""`nsbrokerd grants`: the live sockets that were handed out under grants with limits, as a table or as JSON.

It asks the kernel alone, so it also shows what a broker gave that is no more.
"""

from __future__ import annotations

import json
import pwd
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from ipaddress import ip_address
from pathlib import Path

from ..namespaces.finding import find_namespaces
from ..namespaces.netns import Gate
from ..policy.kinds import KIND_OF_TRIPLE, PORT_KINDS
from ..seal import Endpoint, LiveSocket, live_sockets

_WATCH_S = 1
_CLEAR = "\x1b[H\x1b[J"
"""Of a terminal: to the upper left corner, and wipe from there."""

_HEADINGS = ("USER", "GRANT", "NAMESPACE", "KIND", "LOCAL", "REMOTE", "SINCE", "COOKIE", "STATE")


def show_grants(directory: Path, *, as_json: bool, watch: bool, is_terminal: bool) -> Iterator[str]:
    """Give what is to be printed: once, or every second for ever.

    Raises:
        OSError: not root, or this kernel can't tell.
    """
    gate = Gate()
    while True:
        sockets = live_sockets(directory)
        names = {cookie: name for cookie, name, _ in find_namespaces(gate, {one.netns for one in sockets}) if name}
        if as_json:
            yield json.dumps([as_fields(one, names) for one in sockets], indent=None if watch else 2) + "\n"
        else:
            yield (_CLEAR if watch and is_terminal else "") + as_table(sockets, names)
        if not watch:
            return
        time.sleep(_WATCH_S)


def as_fields(one: LiveSocket, names: Mapping[int, str]) -> dict[str, object]:
    """Give one socket as JSON has it; what is not known, or not bound or connected, is null."""
    return {
        "uid": one.uid,
        "user": user_name(one.uid),
        "grant": one.grant,
        "namespace": names.get(one.netns),
        "netns": one.netns,
        "kind": kind_of(one),
        "local": endpoint(one, one.local),
        "remote": endpoint(one, one.remote),
        "since": _time(one.since_ns),
        "cookie": one.cookie,
        "handed_out": one.handed_out,
        "revoked": one.is_revoked,
    }


def as_table(sockets: Sequence[LiveSocket], names: Mapping[int, str]) -> str:
    """Give all sockets as lines; a namespace without a name is shown by its cookie."""
    lines = [_HEADINGS, *(_cells(one, names) for one in sockets)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    padded = ("  ".join(map(str.ljust, line, widths)) for line in lines)
    return "".join(f"{line.rstrip()}\n" for line in padded)


def _cells(one: LiveSocket, names: Mapping[int, str]) -> tuple[str, ...]:
    cells = (
        user_name(one.uid) or str(one.uid),
        one.grant,
        names.get(one.netns) or str(one.netns),
        kind_of(one),
        _text(endpoint(one, one.local)),
        _text(endpoint(one, one.remote)),
        _time(one.since_ns),
        str(one.cookie),
        "revoked" if one.is_revoked else "",
    )
    return tuple("".join(char if char.isprintable() else "?" for char in cell) for cell in cells)


def kind_of(one: LiveSocket) -> str:
    """Give the policy's word for what it is."""
    return KIND_OF_TRIPLE.get((one.family, one.type, one.protocol), f"{one.family}:{one.type}:{one.protocol}")


def endpoint(one: LiveSocket, end: Endpoint) -> Endpoint | None:
    """Give an end of the socket; None if it is not bound or connected. What has no ports has port 0."""
    host, port = end
    if kind_of(one) not in PORT_KINDS:
        port = 0  # the kernel keeps something else there
    return None if port == 0 and ip_address(host).is_unspecified else (host, port)


def _text(end: Endpoint | None) -> str:
    if end is None:
        return "-"
    host, port = end
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _time(since_ns: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since_ns // 10**9))


@cache
def user_name(uid: int) -> str | None:
    """Give the name of a user; None if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
