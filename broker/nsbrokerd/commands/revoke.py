"""`nsbrokerd revoke` revokes live sockets of grants with limits.

A revoked socket sends and receives no packets any more, in whichever process, and TCP connections end at once. The
grant stays. To keep a user from getting new sockets, change the grant first. Sockets of grants without a limit can't be
revoked: the command names their holders.
"""

from __future__ import annotations

import argparse
import os
import pwd
import sys
from pathlib import Path

from .. import seal
from ..config.paths import read_paths
from ..namespaces.finding import cookie_of
from ..namespaces.netns import HOST, Gate, NamespaceNotFoundError, check_name, open_namespace
from ..policy.engine_names import ENGINES
from ..seal import Selection, live_sockets
from ..sockets.ending import Ending
from .common import CommandError, add_config, report, warn_about
from .output import counted, printable
from .unlimited import describe, find_unlimited
from .walls import describe_walls


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_config(parser)
    parser.add_argument("--grant", help="sockets of this grant")
    parser.add_argument("--user", help="sockets of this user, by name or id")
    parser.add_argument("--namespace", metavar="NS", help="sockets in this namespace, by name, @host or cookie")
    parser.add_argument("--cookie", help="this socket, and the connections that it accepted")


def run(arguments: argparse.Namespace) -> int:
    """Run the command. Return the exit status."""
    paths = read_paths(arguments.config)
    warn_about(paths)
    try:
        gate = Gate()
        selection = _select(gate, arguments)
        _check_kernel(Path(paths.seal))
        count, lines = _revoke(gate, Path(paths.seal), selection)
        walls = describe_walls(Path(paths.seal), live_sockets(Path(paths.seal), selection))
        unstopped = seal.why_not_stopped(Path(paths.seal)) if seal.is_installed(Path(paths.seal)) else None
    except OSError as error:
        return report(error)
    print("\n".join(lines), flush=True)
    # Only now, since the kernel's part must not wait for the broker.
    left = find_unlimited(paths.control, gate, selection)
    if left.sockets:
        print(f"{counted(len(left.sockets), 'socket')} of grants without a limit can't be revoked:")
        print("\n".join(map(printable, describe(left))))
    for note in [*walls, *left.notes, *([unstopped] if unstopped else [])]:
        print(f"nsbrokerd: {note}", file=sys.stderr)
    return 0 if count and not left.sockets and not unstopped else 1


def _check_kernel(directory: Path) -> None:
    """Check that this kernel can find limited sockets, if there can be any.

    Raises:
        CommandError: it can't.
        OSError: the caller is not root.
    """
    if (reason := seal.why_not_listed()) is not None and seal.is_installed(directory):
        raise CommandError(
            f"can't revoke sockets: this kernel refuses programs that look at its sockets ({reason}): "
            "end the processes that hold them"
        )


def _select(gate: Gate, arguments: argparse.Namespace) -> Selection:
    """Return the selection that the arguments mean.

    Raises:
        CommandError: no argument is given, or there is no such user or namespace.
        OSError: the caller is not root.
    """
    selection = Selection(
        arguments.grant,
        None if arguments.user is None else _uid(arguments.user),
        None if arguments.namespace is None else _netns(gate, arguments.namespace),
        None if arguments.cookie is None else _number(arguments.cookie, 64),
    )
    if selection == Selection():
        raise CommandError("no sockets are selected: give at least one of --grant, --user, --namespace, --cookie")
    return selection


def _revoke(gate: Gate, directory: Path, selection: Selection) -> tuple[int, list[str]]:
    """Revoke the sockets of a selection. Return their number, and lines to print.

    Raises:
        OSError: the caller is not root, or this kernel can't do it.
    """
    # End connections before and after. A revoked socket can't send its peer a reset any more, and a socket that is not
    # revoked yet can connect again.
    ending = Ending(gate)
    ended_before = ending.end(seal.live_sockets(directory, selection)).ended
    revoked = seal.revoke(directory, selection)
    seal.detach_in_child(directory)
    outcome = ending.end(revoked)
    seal.abort_stopped(directory)
    lines = [f"{counted(len(revoked), 'socket')} revoked, {counted(ended_before + outcome.ended, 'TCP socket')} ended"]
    if outcome.held:
        lines.append(
            f"{outcome.held} TCP sockets are in calls of programs that do not end: they can't send or receive, "
            "and their connections end with these calls"
        )
    if outcome.out_of_reach:
        lines.append(
            f"{outcome.out_of_reach} TCP sockets are in namespaces that can't be reached: they can't send or receive, "
            "but their connections end only by a timeout"
        )
    return len(revoked), lines


def _uid(user: str) -> int:
    try:
        return _number(user, 32) if user.isdecimal() else pwd.getpwnam(user).pw_uid
    except KeyError as error:
        raise CommandError(f"there is no user {user!r}: give another name, or the id") from error


def _number(text: str, bits: int) -> int:
    if not (text.isdecimal() and int(text) < 2**bits):
        raise CommandError(f"{text} is not a number of {bits} bits: copy it from nsbrokerd sockets")
    return int(text)


def _netns(gate: Gate, namespace: str) -> int:
    """Return the cookie of a namespace. `namespace` is its name, or the cookie itself as text."""
    if namespace == HOST:
        return cookie_of(gate, gate.home_fd)
    engine, colon, _ = namespace.partition(":")
    if colon and engine in ENGINES:
        # By now, another container can have the name. An entry of /run/netns with this name is no container at all.
        advice = "give the cookie of its namespace, which the audit has as netns"
        raise CommandError(f"{namespace!r} is the name of a container, whose sockets can't be found by it: {advice}")
    try:
        fd = open_namespace(check_name(namespace))
    except NamespaceNotFoundError as error:
        if namespace.isdecimal():
            return _number(namespace, 64)
        advice = "give another name, or the cookie that nsbrokerd sockets shows for a namespace without a name"
        raise CommandError(f"there is no namespace {namespace!r}: {advice}") from error
    try:
        return cookie_of(gate, fd)
    finally:
        os.close(fd)
