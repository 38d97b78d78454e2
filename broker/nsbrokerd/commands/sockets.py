"""`nsbrokerd sockets` lists the live sockets that were handed out, as a table or as JSON.

Those of grants with a limit come from the kernel alone, so the list also has sockets of a broker that has ended. For
those of other grants, the broker is asked.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path

from ..config.paths import Paths, read_paths
from ..namespaces.finding import find_namespaces
from ..namespaces.netns import Gate
from ..policy.kinds import PORT_KINDS
from ..policy.limit import Endpoint
from ..seal import LiveSocket, is_installed, live_sockets, why_not_listed
from .common import add_config, report, warn_about
from .output import print_text, table, user, user_name
from .unlimited import Found, Unlimited, find_unlimited
from .walls import describe_walls, kind_of

_HEADINGS = ("USER", "GRANT", "NAMESPACE", "KIND", "LOCAL", "REMOTE", "SINCE", "COOKIE", "STATE")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_config(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--watch", action="store_true", help="print the list every second")


def run(arguments: argparse.Namespace) -> int:
    """Run the command. Return the exit status."""
    paths = read_paths(arguments.config)
    warn_about(paths)
    try:
        gate = Gate()
        make = _json if arguments.json else _text
        print_text(lambda: make(gate, paths, watch=arguments.watch), watch=arguments.watch)
    except OSError as error:
        return report(error)
    return 0


def _json(gate: Gate, paths: Paths, *, watch: bool) -> str:
    """Return all sockets as JSON. Say what can't be known."""
    limited, names, unlimited = _find(gate, paths)
    if not watch:
        _tell([*describe_walls(Path(paths.seal), limited), *unlimited.notes])
    rows = [*(_fields(one, names) for one in limited), *map(_unlimited_fields, unlimited.sockets)]
    return json.dumps(rows, indent=None if watch else 2) + "\n"


def _text(gate: Gate, paths: Paths, *, watch: bool) -> str:
    """Return all sockets as a table. Say which walls hold them, and what can't be known."""
    limited, names, unlimited = _find(gate, paths)
    rows = [*(_cells(one, names) for one in limited), *map(_unlimited_cells, unlimited.sockets)]
    notes = [*describe_walls(Path(paths.seal), limited), *unlimited.notes]
    if watch:
        return table(_HEADINGS, rows) + "".join(f"{note}\n" for note in notes)
    _tell(notes)
    return table(_HEADINGS, rows)


def _tell(notes: Sequence[str]) -> None:
    """Say sentences beside the output, which other programs may read."""
    for note in notes:
        print(f"nsbrokerd: {note}", file=sys.stderr)


def _find(gate: Gate, paths: Paths) -> tuple[list[LiveSocket], dict[int, str], Found]:
    """Find all sockets, and the names of their namespaces.

    Raises:
        OSError: the caller is not root.
    """
    directory, notes = Path(paths.seal), []
    if (reason := why_not_listed()) is not None and is_installed(directory):
        limited = []
        notes.append(f"sockets of grants with a limit can't be listed: this kernel refuses the program: {reason}")
    else:
        limited = live_sockets(directory)
    names = {cookie: name for cookie, name, _ in find_namespaces(gate, {one.netns for one in limited}) if name}
    unlimited = find_unlimited(paths.control, gate)
    return limited, names, unlimited._replace(notes=[*notes, *unlimited.notes])


def _fields(one: LiveSocket, names: Mapping[int, str]) -> dict[str, object]:
    """Return a socket for JSON. An unknown name is null. `local` or `remote` is null if not bound or not connected."""
    return {
        "uid": one.uid,
        "user": user_name(one.uid),
        "grant": one.grant,
        "namespace": names.get(one.netns),
        "netns": one.netns,
        "kind": kind_of(one),
        "local": _endpoint(kind_of(one), one.local),
        "remote": _endpoint(kind_of(one), one.remote),
        "since": _time(one.since_ns // 10**9),
        "cookie": one.cookie,
        "is_limited": True,
        "handed_out": one.handed_out,
        "revoked": one.is_revoked,
    }


def _unlimited_fields(one: Unlimited) -> dict[str, object]:
    return {
        "uid": one.uid,
        "user": user_name(one.uid),
        "grant": one.grant,
        "namespace": one.namespace,
        "netns": one.netns,
        "kind": one.kind,
        "local": one.local and _endpoint(one.kind, one.local),
        "remote": one.remote and _endpoint(one.kind, one.remote),
        "since": _time(one.since),
        "cookie": one.cookie,
        "is_limited": False,
        "pids": one.pids,
    }


def _cells(one: LiveSocket, names: Mapping[int, str]) -> tuple[str, ...]:
    """Return a socket as a line. A namespace without a name is shown by its cookie."""
    return (
        user(one.uid),
        one.grant,
        names.get(one.netns) or str(one.netns),
        kind_of(one),
        _address(_endpoint(kind_of(one), one.local)),
        _address(_endpoint(kind_of(one), one.remote)),
        _time(one.since_ns // 10**9),
        str(one.cookie),
        "revoked" if one.is_revoked else "",
    )


def _unlimited_cells(one: Unlimited) -> tuple[str, ...]:
    return (
        user(one.uid),
        one.grant,
        one.namespace,
        one.kind,
        _address(one.local and _endpoint(one.kind, one.local)),
        _address(one.remote and _endpoint(one.kind, one.remote)),
        _time(one.since),
        str(one.cookie),
        "no limit",
    )


def _endpoint(kind: str, end: Endpoint) -> Endpoint | None:
    """Return an end of the socket, or None if it is not bound or connected. A kind without ports has port 0."""
    host, port = end
    if kind not in PORT_KINDS:
        port = 0  # the kernel keeps another number there
    return None if port == 0 and ip_address(host).is_unspecified else (host, port)


def _address(end: Endpoint | None) -> str:
    if end is None:
        return "-"
    host, port = end
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _time(since_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since_s))
