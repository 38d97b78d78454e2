"""Ctrl-C at each moment of a call: the program gets its KeyboardInterrupt, and no descriptor is closed twice."""

from __future__ import annotations

import contextlib
import dis
import gc
import os
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

import nsbroker
from support.brokers.fake import fake_broker
from support.users import as_user

PACKAGE = str(Path(nsbroker.__file__).parent)

CALLS = ("CALL", "CALL_FUNCTION_EX")
"""Instructions after which the interpreter runs the handlers of signals. Source: CHECK_EVAL_BREAKER in CPython."""

BEGINS = ("RESUME", "JUMP_BACKWARD")
"""Instructions before which it does."""

TCP = nsbroker.SocketSpec("blue", socket.AF_INET, socket.SOCK_STREAM)


@cache
def instructions(code: CodeType) -> dict[int, str]:
    """The names of the instructions by their offsets."""
    return {each.offset: each.opname for each in dis.get_instructions(code)}


class Interrupter:
    """A trace function that raises KeyboardInterrupt at one of the moments at which a signal's handler can run."""

    def __init__(self, moment: int) -> None:
        self.moments = 0
        self._moment = moment

    def __call__(self, frame: FrameType, _event: str, _arg: object) -> Callable[..., Any] | None:
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            return None
        names = instructions(code)
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        last = ""

        def step(frame: FrameType, event: str, _arg: object) -> Callable[..., Any]:
            nonlocal last
            if event == "opcode":
                before, last = last, names[frame.f_lasti]
                if before in CALLS or last in BEGINS:
                    self.moments += 1
                    if self.moments == self._moment:
                        sys.settrace(None)
                        raise KeyboardInterrupt
            return step

        return step


@contextlib.contextmanager
def interrupting(interrupter: Interrupter) -> Iterator[None]:
    before = sys.gettrace()
    sys.settrace(interrupter)
    try:
        yield
    finally:
        sys.settrace(before)


def stale_sockets() -> list[int]:
    """The numbers of descriptors that a new socket object still has after they were closed."""
    numbers = [each.fileno() for each in gc.get_objects() if isinstance(each, socket.SocketType)]
    return [number for number in numbers if number >= 0 and not os.path.exists(f"/proc/self/fd/{number}")]


@pytest.mark.parametrize("makes_sockets_itself", [False, True])
def test_interrupt_reaches_the_program_and_leaves_no_socket_with_a_closed_descriptor(
    makes_sockets_itself: bool,
) -> None:
    """Not an OSError in its place, which programs catch. A stale socket would close the descriptor's next owner."""
    with fake_broker() as broker:
        # In a child, since an interrupt between recvmsg(2) and its result leaks a descriptor in each program.
        moments, wrong = as_user(os.getuid(), os.getgid(), interrupt_each_moment, broker.path, makes_sockets_itself)
    assert moments > 50
    assert wrong == []


def interrupt_each_moment(path: str, makes_sockets_itself: bool) -> tuple[int, list[str]]:
    """Interrupt a call at each of its moments. Return their number, and the mistakes."""
    warnings.simplefilter("ignore", ResourceWarning)  # an interrupted call drops the sockets that it has just made
    client = nsbroker.Client(path)
    blue = nsbroker.Namespace("blue", client=client)
    wrong: list[str] = []

    def call(interrupter: Interrupter) -> None:
        with interrupting(interrupter):
            sock = blue.socket() if makes_sockets_itself else client.open([TCP])[0]
        sock.close()

    call(Interrupter(0))
    gc.freeze()  # so that stale_sockets sees only new objects
    call(counter := Interrupter(0))
    for moment in range(1, counter.moments + 1):
        try:
            call(Interrupter(moment))
            wrong.append(f"{moment}: it went unnoticed")
        except KeyboardInterrupt:
            wrong += [f"{moment}: descriptor {number} is stale" for number in stale_sockets()]
        except OSError as error:
            wrong.append(f"{moment}: {error}")
        client.close()
        call(Interrupter(0))
    return counter.moments, wrong
