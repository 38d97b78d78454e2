"""`nsbrokerd sockets` lists the live sockets of grants with limits, as a table or as JSON.

It asks only the kernel, so the list also has sockets of a broker that has ended.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pwd
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from ipaddress import ip_address
from pathlib import Path

from ..namespaces.finding import find_namespaces
from ..namespaces.netns import Gate
from ..policy.kinds import KIND_OF_TRIPLE, PORT_KINDS
from ..policy.limit import Endpoint
from ..seal import LiveSocket, live_sockets
from .common import add_seal, report

_WATCH_S = 1
_CLEAR = "\x1b[H\x1b[J"
"""For a terminal: go to the upper left corner, and clear the screen from there."""

_HEADINGS = ("USER", "GRANT", "NAMESPACE", "KIND", "LOCAL", "REMOTE", "SINCE", "COOKIE", "STATE")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_seal(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--watch", action="store_true", help="print the list every second")


def run(arguments: argparse.Namespace) -> int:
    """Run the command. Return the exit status."""
    try:
        with contextlib.suppress(KeyboardInterrupt):
            for text in _list(arguments.seal, as_json=arguments.json, watch=arguments.watch):
                print(text, end="", flush=True)
    except OSError as error:
        return report(error)
    return 0


def _list(directory: Path, *, as_json: bool, watch: bool) -> Iterator[str]:
    """Yield texts to print: one, or one every second until the caller stops.

    Raises:
        OSError: the caller is not root, or this kernel can't list them.
    """
    gate = Gate()
    while True:
        sockets = live_sockets(directory)
        names = {cookie: name for cookie, name, _ in find_namespaces(gate, {one.netns for one in sockets}) if name}
        if as_json:
            yield json.dumps([_fields(one, names) for one in sockets], indent=None if watch else 2) + "\n"
        else:
            yield (_CLEAR if watch and sys.stdout.isatty() else "") + _table(sockets, names)
        if not watch:
            return
        time.sleep(_WATCH_S)


def _fields(one: LiveSocket, names: Mapping[int, str]) -> dict[str, object]:
    """Return a socket for JSON. An unknown name is null. `local` or `remote` is null if not bound or not connected."""
    return {
        "uid": one.uid,
        "user": _user_name(one.uid),
        "grant": one.grant,
        "namespace": names.get(one.netns),
        "netns": one.netns,
        "kind": _kind(one),
        "local": _endpoint(one, one.local),
        "remote": _endpoint(one, one.remote),
        "since": _time(one.since_ns),
        "cookie": one.cookie,
        "handed_out": one.handed_out,
        "revoked": one.is_revoked,
    }


def _table(sockets: Sequence[LiveSocket], names: Mapping[int, str]) -> str:
    """Return all sockets as lines. A namespace without a name is shown by its cookie."""
    lines = [_HEADINGS, *(_cells(one, names) for one in sockets)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ("  ".join(map(str.ljust, line, widths)) for line in lines)
    return "".join(f"{line.rstrip()}\n" for line in padded)


def _cells(one: LiveSocket, names: Mapping[int, str]) -> tuple[str, ...]:
    cells = (
        _user_name(one.uid) or str(one.uid),
        one.grant,
        names.get(one.netns) or str(one.netns),
        _kind(one),
        _text(_endpoint(one, one.local)),
        _text(_endpoint(one, one.remote)),
        _time(one.since_ns),
        str(one.cookie),
        "revoked" if one.is_revoked else "",
    )
    return tuple("".join(char if char.isprintable() else "?" for char in cell) for cell in cells)


def _kind(one: LiveSocket) -> str:
    """Return the policy's word for this kind of socket."""
    return KIND_OF_TRIPLE.get((one.family, one.type, one.protocol), f"{one.family}:{one.type}:{one.protocol}")


def _endpoint(one: LiveSocket, end: Endpoint) -> Endpoint | None:
    """Return an end of the socket, or None if it is not bound or connected. A kind without ports has port 0."""
    host, port = end
    if _kind(one) not in PORT_KINDS:
        port = 0  # the kernel keeps another number there
    return None if port == 0 and ip_address(host).is_unspecified else (host, port)


def _text(end: Endpoint | None) -> str:
    if end is None:
        return "-"
    host, port = end
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _time(since_ns: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since_ns // 10**9))


@cache
def _user_name(uid: int) -> str | None:
    """Return the name of a user, or None for a uid without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
