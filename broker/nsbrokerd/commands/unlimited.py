"""Finds the live sockets of grants without a limit: the broker tells which it handed out, the kernel which are open.

The seal has no entry for them, so this is all that is known: the broker remembers the last ones since its start, and
the kernel does not list each socket. What is not known is said in words.
"""

from __future__ import annotations

import os
import socket
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from ..control.asking import AskError, Connection
from ..control.packets import SOCKETS, Request
from ..namespaces.finding import find_namespaces
from ..namespaces.netns import Gate
from ..seal import Selection
from ..sockets.listing import Endpoint, list_sockets
from ..sockets.sock_diag import open_diag
from .output import counted, user

_TIMEOUT_S = 2.0
"""Of one question. The kernel's part of a command does not wait for the broker."""


class Unlimited(NamedTuple):
    """A live socket of a grant without a limit, as the broker and the kernel describe it. `pids` hold it."""

    cookie: int
    uid: int
    grant: str
    namespace: str
    netns: int
    kind: str
    since: int
    local: Endpoint | None
    remote: Endpoint | None
    pids: list[int]


class Found(NamedTuple):
    """The live sockets, and sentences about what can't be known."""

    sockets: list[Unlimited]
    notes: list[str]


def find_unlimited(control: str, gate: Gate, selection: Selection | None = None) -> Found:
    """Find the sockets that match all fields of a selection."""
    wanted = selection or Selection()
    try:
        handed_out, notes = _ask_all(control)
    except AskError as error:
        return Found(
            [], [f"sockets of grants without a limit are not known, since only the broker knows them: {error}"]
        )
    chosen = [one for one in handed_out if _matches(one, wanted)]
    return _look_up(gate, chosen, notes)


def describe(found: Found) -> list[str]:
    """Describe the holders, a line for each user, grant and namespace."""
    groups: defaultdict[tuple[int, str, str], list[Unlimited]] = defaultdict(list)
    for one in found.sockets:
        groups[one.uid, one.grant, one.namespace].append(one)
    return [
        f"  {counted(len(group), 'socket')} of {user(uid)} by grant {grant!r} in {namespace}{_holders(group)}"
        for (uid, grant, namespace), group in groups.items()
    ]


def _holders(group: Iterable[Unlimited]) -> str:
    pids = sorted({pid for one in group for pid in one.pids})
    return f", in the processes {', '.join(map(str, pids))}" if pids else ", in no process that can be seen"


def _ask_all(control: str) -> tuple[list[Unlimited], list[str]]:
    """Return all sockets that the broker remembers, and sentences about those that it does not.

    Raises:
        AskError: the broker does not answer.
    """
    sockets: list[Unlimited] = []
    after = 0
    with Connection(control, _TIMEOUT_S) as connection:
        while (reply := connection.ask(Request(SOCKETS, after)))["sockets"]:
            sockets += [Unlimited._make([*entry, None, None, []]) for entry in reply["sockets"]]
            after = reply["last"]
    notes = [f"sockets of grants without a limit are known since the start of the broker ({reply['started']})"]
    if reply["forgotten"]:
        notes.append(
            f"the broker handed out {counted(reply['forgotten'], 'earlier socket')} of grants without a limit"
            " that it does not remember: see the audit"
        )
    return sockets, notes


def _matches(one: Unlimited, wanted: Selection) -> bool:
    return all(
        field is None or field == value
        for field, value in zip(wanted, (one.grant, one.uid, one.netns, one.cookie), strict=True)
    )


def _look_up(gate: Gate, chosen: Collection[Unlimited], notes: list[str]) -> Found:
    """Keep the sockets that the kernel lists, and add what it knows."""
    by_netns: defaultdict[int, list[Unlimited]] = defaultdict(list)
    for one in chosen:
        by_netns[one.netns].append(one)
    live: dict[int, Unlimited] = {}
    unseen: list[Unlimited] = []
    unlisted: set[str] = set()
    for netns, _, fd in find_namespaces(gate, list(by_netns)):
        here = by_netns.pop(netns)
        diag: socket.socket = gate.call_inside(fd, open_diag)
        with diag:
            listed, lacking = list_sockets(diag, {one.kind for one in here})
        unlisted |= lacking
        for one in here:
            if one.cookie not in listed:
                unseen.append(one)
                continue
            inode, local, remote = listed[one.cookie]
            if inode:  # otherwise it is closed, and the kernel ends its connection: TIME_WAIT, for example
                live[inode] = one._replace(local=local, remote=remote, pids=[])
    out_of_reach = [one for group in by_netns.values() for one in group]
    if unseen:
        notes.append(
            f"{counted(len(unseen), 'socket')} of grants without a limit can be open or closed: the kernel lists no"
            f" socket that was never bound or connected{_and_kinds(unlisted)}"
        )
    if out_of_reach:
        notes.append(
            f"{counted(len(out_of_reach), 'socket')} of grants without a limit can be open or closed: their namespaces"
            " can't be reached"
        )
    for inode, pid in _holders_of(live.keys()):
        live[inode].pids.append(pid)
    return Found(list(live.values()), notes)


def _and_kinds(unlisted: Collection[str]) -> str:
    return f", and none of the kinds {', '.join(sorted(unlisted))}" if unlisted else ""


def _holders_of(inodes: Collection[int]) -> Iterator[tuple[int, int]]:
    """Yield the inode of a socket and a process that holds it, each pair once."""
    links = {f"socket:[{inode}]": inode for inode in inodes}
    for pid in filter(str.isdigit, os.listdir("/proc") if links else ()):
        seen: set[str] = set()
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                seen.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:  # the process, or the descriptor, is gone
            pass
        yield from ((links[link], int(pid)) for link in seen & links.keys())
