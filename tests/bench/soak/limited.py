"""A user with a limit: its sockets must reach the allowed address, and no other, over reloads and restarts."""

from __future__ import annotations

import errno
import random
import socket
from typing import NamedTuple

import nsbroker
from nsbroker import SocketSpec
from support.far_side import ALLOWED_4, ALLOWED_6, FORBIDDEN_4, FORBIDDEN_6
from support.inside import netns_cookie

from .client import TIMEOUT_S
from .judge import Judge
from .policy import NEAR, OTHER_PORT, POLICIES, PORT, SECOND_PORT
from .told import Tally, Told, live, policy_of

PAUSE_S = 0.05


class Way(NamedTuple):
    family: int
    allowed: str
    forbidden: str


WAYS = (
    Way(socket.AF_INET, ALLOWED_4, FORBIDDEN_4),
    Way(socket.AF_INET6, ALLOWED_6, FORBIDDEN_6),
)


def run_limited(path: str, uid: int, number: int, near: int, answer: bytes, told: Told) -> list[Tally]:
    """Use limited sockets until told to end. `near` is the cookie of their namespace, `answer` the far server's."""
    client = _LimitedClient(path, uid, number, near, answer, told)
    return [live(told, number, client.judge.tally, client.act, client.rest, PAUSE_S)]


class _LimitedClient:
    def __init__(self, path: str, uid: int, number: int, near: int, answer: bytes, told: Told) -> None:
        self._chance = random.Random(number)
        self._client = nsbroker.Client(path, timeout=TIMEOUT_S)
        self._near, self._answer, self._told = near, answer, told
        self.judge = Judge(uid, number, {NEAR: near}, told)
        # These are in use all the time. Each reload changes where they can send.
        self._held = {way: self._open(way, socket.SOCK_DGRAM) for way in WAYS}

    def act(self) -> None:
        way = self._chance.choice(WAYS)
        self._reach(way)
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            self._be_refused(way, kind, (way.forbidden, PORT))
            self._be_refused(way, kind, (way.allowed, OTHER_PORT))
        self._send_by_turns(way)

    def rest(self) -> None:
        self._client.close()
        self.judge.rest()

    def _open(self, way: Way, kind: int) -> socket.socket:
        [sock] = self._client.open([SocketSpec(NEAR, int(way.family), int(kind))])
        sock.settimeout(TIMEOUT_S)
        if netns_cookie(sock) != self._near:
            self.judge.say_wrong(f"a limited socket is in the namespace {netns_cookie(sock)}, not {self._near}")
        return sock

    def _reach(self, way: Way) -> None:
        with self._open(way, socket.SOCK_STREAM) as sock:
            sock.connect((way.allowed, PORT))
            answer = sock.recv(64)
        if answer != self._answer:
            self.judge.say_wrong(f"{way.allowed} answered {answer!r}, not {self._answer!r}")
        self.judge.tally.count("limited sockets that reached their peer")

    def _be_refused(self, way: Way, kind: int, address: tuple[str, int]) -> None:
        with self._open(way, kind) as sock:
            try:
                if kind == socket.SOCK_STREAM:
                    sock.connect(address)
                else:
                    sock.sendto(b"x", address)
            except OSError as error:
                if error.errno != errno.EPERM:
                    raise
                self.judge.tally.count("limited sockets that were refused")
            else:
                self.judge.say_wrong(f"a limited socket could reach {address}")

    def _send_by_turns(self, way: Way) -> None:
        """Send to an address that only one of the two policies allows, on a socket that was there before both."""
        before, can_send = self._told.turn, True
        try:
            self._held[way].sendto(b"x", (way.allowed, SECOND_PORT))
        except PermissionError as error:
            if error.errno != errno.EPERM:
                raise
            can_send = False
        policy = policy_of(before, self._told.turn, len(POLICIES))
        if policy is None:
            self.judge.tally.count("decided during a reload")
        elif can_send != POLICIES[policy].has_second_port:
            verb = "could" if can_send else "could not"
            self.judge.say_wrong(f"policy {policy} held, and a limited socket {verb} send to port {SECOND_PORT}")
        else:
            self.judge.tally.count("held limited sockets that followed a reload")
