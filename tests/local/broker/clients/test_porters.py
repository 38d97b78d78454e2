"""Porters are processes of their own: what they get is closed there, and their number is bounded."""

from __future__ import annotations

import itertools
import os
import select
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest

from nsbroker.link.fdpass import lend_packet
from nsbrokerd.clients import porters as porters_module
from nsbrokerd.clients.porter import File, Taken
from nsbrokerd.clients.porter_process import FOREIGN, LOST, MORE, NAMESPACES
from nsbrokerd.clients.porters import IDLE_S, MAX_PORTERS, Porters
from support.process_state import is_libffi, porters_of, state
from support.waiting import wait_until


class Somebody:
    """A person that has files."""

    uids = itertools.count(1)

    def __init__(self, uid: int | None = None, *, is_named: bool = True) -> None:
        self.uid = next(self.uids) if uid is None else uid
        self.closing = 0
        self.is_named = is_named


class Clock:
    """A clock that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()


@pytest.fixture
def porters() -> Iterator[Porters]:
    CLOCK.now = 0
    porters = Porters(CLOCK)
    yield porters
    porters.finish()


@pytest.fixture
def ann() -> Somebody:
    return Somebody()


class Connection:
    """The broker's end, and the client's."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.ours.close()
        self.theirs.close()


def hear(porters: Porters) -> None:
    """Wait for an answer, and let the porters be heard."""
    assert select.select([porters], [], [], 60)[0]
    porters.serve()


def await_taken(porters: Porters, taken: Taken | None) -> Taken:
    assert taken is not None
    while taken.answer is None and not taken.is_late:
        hear(porters)
    return taken


def porter_pids() -> list[int]:
    return porters_of(os.getpid())


def test_namespaces_are_handed_on(porters: Porters, ann: Somebody) -> None:
    """They are the ones that were sent, and the connection has its next packet."""
    with Connection() as one, open("/proc/self/ns/net") as home:
        lend_packet(one.theirs, b"request", [home.fileno(), home.fileno()])
        one.theirs.send(b"next")
        taken = await_taken(porters, porters.take(ann, one.ours, 2))
        assert (taken.answer, len(taken.fds)) == (NAMESPACES, 2)
        assert [os.fstat(fd).st_ino for fd in taken.fds] == [os.fstat(home.fileno()).st_ino] * 2
        assert one.ours.recv(10) == b"next"
        taken.abandon()


@pytest.mark.parametrize(
    ("paths", "most", "answer"),
    [
        (["/dev/null"], 1, FOREIGN),
        (["/proc/self/ns/net", "/dev/null"], 2, FOREIGN),
        (["/proc/self/ns/pid"], 1, FOREIGN),
        (["/proc/self/ns/net"] * 2, 1, MORE),
        ([], 1, LOST),
    ],
)
def test_other_descriptors_never_come_here(
    porters: Porters, ann: Somebody, paths: list[str], most: int, answer: bytes
) -> None:
    files = [os.open(path, os.O_RDONLY) for path in paths]
    with Connection() as one:
        if files:
            lend_packet(one.theirs, b"request", files)
        taken = await_taken(porters, porters.take(ann, one.ours, most))
        assert (taken.answer, taken.fds) == (answer, [])
    for fd in files:
        os.close(fd)


@pytest.mark.parametrize("has_courtesy", [True, False])
def test_connection_is_dropped_by_the_porter(porters: Porters, ann: Somebody, has_courtesy: bool) -> None:
    """With courtesy, the client can read its last replies."""
    read_end, write_end = os.pipe()
    with Connection() as one:
        lend_packet(one.theirs, b"request", [write_end])
        os.close(write_end)
        one.ours.send(b"reply")
        porters.drop(ann, one.ours.detach(), has_courtesy=has_courtesy)
        assert (ann.closing, porters.connections) == (1, 1)
        while ann.closing:
            hear(porters)
        assert porters.connections == 0
        assert os.read(read_end, 1) == b""  # the packet's descriptor is closed, too
        os.close(read_end)
        if has_courtesy:
            assert [one.theirs.recv(10), one.theirs.recv(10)] == [b"reply", b""]
        else:
            with pytest.raises(ConnectionResetError):
                one.theirs.recv(10)


def test_files_are_closed_by_the_porter(porters: Porters, ann: Somebody) -> None:
    read_end, write_end = os.pipe()
    porters.close(ann, write_end)
    assert porters.files_of(ann) == 1
    while porters.files_of(ann):
        hear(porters)
    assert os.read(read_end, 1) == b""
    os.close(read_end)


def test_socket_that_lingers_does_not_hold_up_the_porter(porters: Porters, ann: Somebody) -> None:
    """Its last close waits for ten hours, unless a signal interrupts it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    near.setblocking(False)
    with far:
        with suppress(BlockingIOError):
            while True:
                near.send(b"x" * 65536)
        near.setblocking(True)  # a socket that does not block does not linger
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 36_000))
        porters.close(ann, near.detach())
        while porters.files_of(ann):
            hear(porters)


def test_porter_has_no_power_and_no_other_descriptor(porters: Porters, ann: Somebody) -> None:
    with Connection() as one:
        lend_packet(one.theirs, b"request", [0])
        await_taken(porters, porters.take(ann, one.ours, 1))
        while not porters._of[ann.uid].is_idle:
            hear(porters)
        (pid,) = porter_pids()
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        sets = ("CapInh", "CapPrm", "CapEff", "CapAmb")
        assert {status[name] for name in sets} == {"0" * 16}
        assert status["NoNewPrivs"] == "1"
        files = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        kinds = sorted(file.partition(":")[0] for file in files if not is_libffi(file))
        assert kinds == ["/dev/null"] * 3 + ["socket"]


def test_persons_have_porters_of_their_own_up_to_a_bound(porters: Porters, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unnamed persons have half of them. A person without one has its packets refused, and its connections dropped."""
    monkeypatch.setattr(porters_module, "MAX_PORTERS", 4)
    persons = [Somebody(is_named=False) for _ in range(3)] + [Somebody() for _ in range(3)]
    with Connection() as one:
        taken = [porters.take(person, one.ours, 1) for person in persons]
        assert [each is not None for each in taken] == [True, True, False, True, True, False]
        with Connection() as other:
            porters.drop(persons[5], other.ours.detach(), has_courtesy=False)
        while persons[5].closing:
            hear(porters)
        assert len(porter_pids()) == 5


def test_porter_stays_when_its_person_was_forgotten(porters: Porters) -> None:
    """Otherwise a person could have one porter after the other hang."""
    with Connection() as one:
        for _ in range(2):
            await_taken(porters, porters.take(Somebody(1000), one.ours, 1))
        assert len(porter_pids()) == 1


def test_number_of_porters_is_small() -> None:
    assert MAX_PORTERS <= 64


def test_idle_porter_ends(porters: Porters, ann: Somebody) -> None:
    with Connection() as one:
        for _ in range(2):
            await_taken(porters, porters.take(ann, one.ours, 1))
            while not porters._of[ann.uid].is_idle:
                hear(porters)
            porters.sweep()
            assert len(porter_pids()) == 1
            CLOCK.now += IDLE_S + 1
            porters.sweep()
            wait_until(lambda: porter_pids() == [])


def test_idle_porter_makes_room_for_another_person(porters: Porters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(porters_module, "MAX_PORTERS", 1)
    with Connection() as one:
        for person in (Somebody(), Somebody()):
            await_taken(porters, porters.take(person, one.ours, 1))
            while not porters._of[person.uid].is_idle:
                hear(porters)


@pytest.mark.parametrize("whose", ["porter", "mother"])
def test_porter_that_was_killed_is_replaced(porters: Porters, ann: Somebody, whose: str) -> None:
    with Connection() as one:
        await_taken(porters, porters.take(ann, one.ours, 1))
        (pid,) = porter_pids()
        mother = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        if whose == "mother":
            os.kill(mother, signal.SIGKILL)
            wait_until(lambda: state(mother) == "Z")
        os.kill(pid, signal.SIGKILL)
        while ann.uid in porters._of:
            hear(porters)
        assert await_taken(porters, porters.take(ann, one.ours, 1)).answer == LOST


def test_files_that_no_porter_can_get_are_closed_by_a_program_of_their_own(
    porters: Porters, ann: Somebody, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example if a client has nested its sockets so deep that the kernel passes none on."""
    read_end, write_end = os.pipe()
    monkeypatch.setattr("nsbrokerd.clients.porter.Porter.put", lambda _, file: [File(*file)])
    with Connection() as one:
        lend_packet(one.theirs, b"request", [write_end])
        os.close(write_end)
        porters.drop(ann, one.ours.detach(), has_courtesy=False)
        assert (ann.closing, porters.held) == (1, 1)
        porters.sweep()
        assert porters.held == 0
        assert os.read(read_end, 1) == b""
    os.close(read_end)

    def is_counted() -> bool:
        porters.sweep()
        return (ann.closing, porters.connections) == (0, 0)

    wait_until(is_counted)


def test_porters_go_on_after_the_end_of_the_broker(ann: Somebody) -> None:
    porters = Porters()
    read_end, write_end = os.pipe()
    files = [write_end, *(os.dup(write_end) for _ in range(99))]
    for fd in files:
        porters.close(ann, fd)
    porters.finish()
    assert not any(os.path.exists(f"/proc/self/fd/{fd}") for fd in files)
    assert os.read(read_end, 1) == b""
    os.close(read_end)
    wait_until(lambda: porter_pids() == [])
