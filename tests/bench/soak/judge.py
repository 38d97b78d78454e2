"""The judge of a client: is each socket in its namespace, is it the client's own, and of the right kind?"""

from __future__ import annotations

import socket
from collections.abc import Mapping

import nsbroker
from nsbroker import SocketSpec
from support.inside import netns_cookie, owner

from .sights import Sights
from .told import MOST_TEXTS, Tally, Told

KINDS = (
    (socket.AF_INET, socket.SOCK_STREAM),
    (socket.AF_INET6, socket.SOCK_STREAM),
    (socket.AF_INET, socket.SOCK_DGRAM),
    (socket.AF_INET6, socket.SOCK_DGRAM),
)


class Judge:
    """Judges the sockets of one client. The namespaces in `stable` keep their cookie. All others come and go."""

    def __init__(self, uid: int, number: int, stable: Mapping[str, int], told: Told) -> None:
        self.tally = Tally({}, [], [])
        self._uid, self._number, self._stable, self._told = uid, number, stable, told
        self._sights = Sights()

    def say_wrong(self, text: str) -> None:
        if len(self.tally.wrong) < MOST_TEXTS:
            self.tally.wrong.append(f"client {self._number}: {text}")

    def look_at(self, spec: SocketSpec, sock: socket.socket, asked: float, had: float) -> None:
        """Judge a socket that was asked for at one time and there at another."""
        name, cookie = str(spec.namespace), netns_cookie(sock)
        if name not in self._stable:
            self._sights.add(name, cookie, asked, had)
        elif cookie != self._stable[name]:
            self.say_wrong(f"{name} has the cookie {self._stable[name]}, its socket {cookie}")
        if owner(sock) != self._uid or (sock.family, sock.type) != (spec.family, spec.type):
            self.say_wrong(f"{sock} of uid {owner(sock)} came for {spec} of uid {self._uid}")
        self.tally.count("sockets")

    def was_not_found(self, error: nsbroker.NamespaceNotFoundError, name: object) -> None:
        """Judge a refusal: only a namespace that comes and goes can be missing."""
        self.tally.count("not there just then")
        if name in self._stable or name is None:
            self.say_wrong(f"{name} was not found: {error}")

    def rest(self) -> None:
        """Move everything that grows to a file."""
        self._sights.move_to(self._told.directory / f"sights-{self._number}")
