"""A process that makes sockets as the broker does, while another one sends it SIGINT all the time."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import select
import signal
import socket
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import trio

from nsbroker import SocketSpec
from nsbrokerd.clients.client import Person
from nsbrokerd.namespaces.netns import Gate
from nsbrokerd.policy import Grant, NamespaceRule
from nsbrokerd.policy.kinds import triple_of
from nsbrokerd.policy.plans import PlannedSocket
from nsbrokerd.sockets.batch import OpenError, OpenGroup
from nsbrokerd.sockets.credentials import Credentials
from nsbrokerd.sockets.opener import Opener
from support.process_state import ThreadState, thread_state
from support.waiting import LIMIT_S, Counters

LONGEST_PAUSE_S = 0.0004
PEER = 62000
"""The fsuid and fsgid that the sockets are made with."""
PERSON = Person(PEER, 0, 1)

SIGNALS, CAUGHT, INSIDE, CALLS = range(4)
"""Counters: signals that arrived, that were raised within a call, those of them in another namespace, calls made."""


class Harness:
    """Makes sockets in other namespaces, and checks its own namespace and user after each call."""

    def __init__(self, namespaces: Sequence[str], counters: Counters) -> None:
        self._opener = Opener(Gate(), Credentials(), {})
        self._groups = [
            OpenGroup(os.open(namespace, os.O_RDONLY), _plan(first, namespace))
            for first, namespace in zip(range(0, 100, 10), namespaces, strict=False)
        ]
        last = self._groups[-1]
        failing = last._replace(sockets=[*last.sockets, _unbindable(namespaces[-1])])
        self._failing = [*self._groups[:-1], failing]
        only = last.sockets[0]._replace(position=0, is_plain=True)
        self._single = [last._replace(sockets=[only])]
        self._counters = counters
        self._home = thread_state()

    def call(self) -> None:
        """Make the sockets of one request. Every third time, the last one fails, and then comes a single plain one."""
        number = self._counters[CALLS] = self._counters[CALLS] + 1
        try:
            groups = (self._failing, self._single, self._groups)[number % 3]
            opened = self._opener.open_sockets(groups, PEER, PEER, PERSON)
        except OpenError as error:
            if error.error.errno != errno.EADDRNOTAVAIL:
                raise
        else:
            for one in opened:
                one.sock.close()

    def verify(self) -> None:
        """Fail if the state of this thread differs from its state at the beginning."""
        state: ThreadState = thread_state()
        assert state == self._home, f"after a call: {state} instead of {self._home}"

    def note(self, frame: FrameType | None) -> bool:
        """Count a signal, and return whether it came within a call."""
        names = _names(frame)
        self._counters[SIGNALS] += 1
        self._counters[INSIDE] += "call_inside" in names
        self._counters[CAUGHT] += "open_sockets" in names
        return "open_sockets" in names


def _plan(first: int, namespace: str) -> list[PlannedSocket]:
    specs = [
        SocketSpec(namespace, socket.AF_INET, socket.SOCK_STREAM),
        SocketSpec(namespace, socket.AF_NETLINK, socket.SOCK_RAW),
        SocketSpec(namespace, socket.AF_INET, socket.SOCK_STREAM, 0, ("127.0.0.1", 0), 1),
    ]
    return [_planned(first + i, spec) for i, spec in enumerate(specs)]


def _unbindable(namespace: str) -> PlannedSocket:
    return _planned(99, SocketSpec(namespace, socket.AF_INET, socket.SOCK_STREAM, 0, ("192.0.2.1", 80)))


def _planned(position: int, spec: SocketSpec) -> PlannedSocket:
    kind = "netlink:route" if spec.family == socket.AF_NETLINK else "tcp"
    grant = Grant("test", None, frozenset(), NamespaceRule.parse(["*"]), frozenset({kind}))
    return PlannedSocket(position, "blue", spec, triple_of(spec), kind, grant, binds_as_root=False)


def _names(frame: FrameType | None) -> set[str]:
    names = set()
    while frame is not None:
        names.add(frame.f_code.co_name)
        frame = frame.f_back
    return names


def run_as_the_broker_does(harness: Harness, until: Callable[[], bool], ready: Callable[[], None]) -> None:
    """Call in a trio task that sees KeyboardInterrupt at its checkpoints alone."""

    async def serve() -> None:
        trios = signal.getsignal(signal.SIGINT)
        assert callable(trios)

        def handle(number: int, frame: FrameType | None) -> None:
            # On a busy machine, the next signal can come before this one is handled, again and again.
            if "handle" not in _names(frame):
                harness.note(frame)
                trios(number, frame)

        signal.signal(signal.SIGINT, handle)
        interrupts = 0
        ready()
        while not until():
            try:
                await trio.lowlevel.checkpoint()
            except KeyboardInterrupt:
                interrupts += 1
            harness.call()
            harness.verify()
        assert interrupts
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    with contextlib.suppress(KeyboardInterrupt):  # one that was pending at the end
        trio.run(serve, restrict_keyboard_interrupt_to_checkpoints=True)


def run_unprotected(harness: Harness, until: Callable[[], bool], ready: Callable[[], None]) -> None:
    """Call with Python's own handler, which raises KeyboardInterrupt anywhere within a call, any number of times."""

    def raise_within_call(number: int, frame: FrameType | None) -> None:
        if harness.note(frame):
            signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, raise_within_call)
    ready()
    while not until():
        with contextlib.suppress(KeyboardInterrupt):
            harness.call()
        harness.verify()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def run_under_fire(run: Callable[[Callable[[], None]], None]) -> int:
    """Run `run(ready)` in one process, send it SIGINT from another after it called `ready`, and return its status."""
    ready, tell_ready = os.pipe2(os.O_CLOEXEC)
    target = _fork(run, lambda: os.write(tell_ready, b"x"))
    os.close(tell_ready)
    os.read(ready, 1)  # it is ready, or ended
    os.close(ready)
    pidfd = os.pidfd_open(target)
    sender = _fork(_send_signals, pidfd, target)
    try:
        if not select.select([pidfd], [], [], LIMIT_S)[0]:
            os.kill(target, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(target, 0)[1])
    finally:
        os.kill(sender, signal.SIGKILL)
        os.waitpid(sender, 0)
        os.close(pidfd)


def _send_signals(pidfd: int, seed: int) -> None:
    chance = random.Random(seed)
    while True:
        signal.pidfd_send_signal(pidfd, signal.SIGINT)
        # Not to wait for anything: this is the rhythm of the test.
        time.sleep(chance.uniform(0, LONGEST_PAUSE_S))


def _fork(function: Callable[..., None], *args: Any) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            warnings.simplefilter(
                "ignore", ResourceWarning
            )  # an interrupted call drops the sockets that it has just made
            function(*args)
            status = 0
        except ProcessLookupError:
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return pid
