"""The same look-ups in four ways: by glibc inside a namespace, by the library, under `patch`, and under `run`."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from support.checkout import TESTS
from support.users import GROUP, USER

Call = tuple[str, tuple[Any, ...]]
"""A function of the socket module, and its arguments."""

_PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
# Everything that is loaded later: the user may be unable to read it.
import ctypes, encodings.idna, encodings.punycode, socket, ssl
import dns.rdtypes.ANY.CNAME, dns.rdtypes.ANY.OPT, dns.rdtypes.ANY.PTR, dns.rdtypes.ANY.SOA, dns.rdtypes.ANY.TXT
import dns.rdtypes.IN.A, dns.rdtypes.IN.AAAA
import nsbroker, nsbroker.module.namespace, nsbroker.names.dns.search, nsbroker.names.resolver, nsbroker.patching
from support.names.asking import serve
serve(*sys.argv[2:])
"""


class Asker:
    """A program that looks names up in one way: "glibc", "library", "patch" or "run".

    It runs as an unprivileged user, except where the C library looks names up, because only root can enter a namespace.
    """

    def __init__(self, way: str, namespace: str, path: str) -> None:
        prefix = {
            "glibc": ["ip", "netns", "exec", namespace],
            "run": [sys.executable, "-m", "nsbroker.cli", namespace, "run", "--"],
        }.get(way, [])
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-c", _PROGRAM, str(TESTS), way, namespace],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "NSBROKER_SOCKET": path},
        )
        assert self._process.stdin
        assert self._process.stdout
        self._in, self._out = self._process.stdin, self._process.stdout

    def ask(self, calls: Sequence[Call], variables: Mapping[str, str]) -> list[Any]:
        """Return the `outcome` of each call, with these variables in the environment.

        A new process asks each time, because glibc reads some files only once.
        """
        pickle.dump((list(calls), dict(variables)), self._in)
        self._in.flush()
        found = pickle.load(self._out)
        assert isinstance(found, list), found
        return found

    def close(self) -> None:
        self._in.close()
        self._out.close()
        self._process.wait()


def serve(way: str, namespace: str) -> None:
    """Answer an `Asker` until it closes."""
    if way in ("library", "patch"):
        os.setgroups([])
        os.setgid(GROUP)
        os.setuid(USER)
    while True:
        try:
            calls, variables = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        child = os.fork()
        if child == 0:
            try:
                os.environ.update(variables)
                found: Any = _ask(way, namespace, calls)
            except BaseException as error:
                found = repr(error)
            pickle.dump(found, sys.stdout.buffer)
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(child, 0)


def _ask(way: str, namespace: str, calls: Sequence[Call]) -> list[Any]:
    import socket

    import nsbroker

    module = nsbroker.Namespace(namespace) if way == "library" else socket
    if way == "patch":
        nsbroker.patch(namespace)
    return [outcome(getattr(module, function), arguments) for function, arguments in calls]


def outcome(function: Any, arguments: tuple[Any, ...]) -> Any:
    """Return the result of a function of the socket module in plain types, or its exception as (kind, arguments).

    The arguments are left out where they depend on the version of Python. They also are for herror, because CPython
    reports the code of an earlier look-up if the last one asked no name server.
    """
    import socket

    try:
        found = function(*arguments)
    except (UnicodeError, socket.herror, OverflowError) as error:
        is_idna = isinstance(error, UnicodeError) and getattr(error, "encoding", "idna") == "idna"
        return "UnicodeError" if is_idna else type(error).__name__
    except (OSError, TypeError, ValueError) as error:
        # The library may put a detail after the text of the C library.
        return type(error).__name__, [str(each).partition(": ")[0] for each in error.args]
    if isinstance(found, list):
        return [(*map(int, row[:3]), *row[3:]) if len(row) == 5 else row for row in found]
    return found
