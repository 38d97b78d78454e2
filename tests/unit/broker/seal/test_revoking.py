"""The hooks for each packet stand before a socket that needs them is revoked. A pin is a file here."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from nsbrokerd.seal import Selection, abort_stopped, bpf, revoke, revoking, wall, why_not_stopped
from nsbrokerd.seal.kernel import KernelLayout
from nsbrokerd.seal.layout import PARENT, REVOKED
from nsbrokerd.seal.maps import SealMaps
from nsbrokerd.seal.programs.calls import HOOKS
from nsbrokerd.seal.programs.iterator import RECORD, LiveSocket
from nsbrokerd.seal.wall import remove_superfluous, standing_hooks

PACKETS = {"socket_sendmsg", "socket_recvmsg"}
ALL = Selection(uid=1)
TCP, UDPLITE, SCTP = (2, 1, 6), (2, 2, 136), (2, 1, 132)


class Kernel:
    """Sockets in use, and the events in their order: hooks that were attached, and sockets that were revoked."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.sockets: list[LiveSocket] = []
        self.events: list[str] = []
        self.associations: list[str] = []
        self.refuses = False
        self.before_it_revokes: Callable[[], None] = lambda: None

    def add(self, triple: tuple[int, int, int], flags: int = PARENT) -> None:
        family, kind, protocol = triple
        empty = LiveSocket(*RECORD.unpack(bytes(RECORD.size)))
        named = empty._replace(cookie=len(self.sockets), flags=flags, family=family, type=kind, protocol=protocol)
        self.sockets.append(named)

    def attach(self, name: str, _maps: SealMaps) -> int:
        if self.refuses:
            raise OSError("no memory")
        self.events.append(name)
        return os.open("/dev/null", os.O_RDONLY)

    def visit(self, _maps: SealMaps, _selection: Selection, *, revokes: bool) -> list[LiveSocket]:
        assert revokes
        self.before_it_revokes()
        self.events.append("revoked")
        self.pinned = len(os.listdir(self.directory))
        found, self.sockets = self.sockets, [one._replace(flags=one.flags | REVOKED) for one in self.sockets]
        return found


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel(tmp_path)
    monkeypatch.setattr(revoking, "open_maps", lambda _: SealMaps(*(os.open("/dev/null", 0) for _ in range(3)), {}))
    monkeypatch.setattr(revoking, "visit", made.visit)
    monkeypatch.setattr(revoking, "open_associations", lambda _maps: made.associations)
    monkeypatch.setattr(wall, "_attach", made.attach)
    monkeypatch.setattr(wall, "kernel_layout", lambda: KernelLayout({}, 1, dict.fromkeys(HOOKS, 1)))
    monkeypatch.setattr(wall, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(bpf, "pin", lambda _fd, path: Path(path).write_text(""))
    (tmp_path / "hook_socket_setsockopt").write_text("")
    return made


@pytest.mark.parametrize(("triple", "hooks"), [(SCTP, PACKETS), (TCP, set()), (UDPLITE, set())])
def test_hooks_are_pinned_before_a_socket_is_revoked(
    kernel: Kernel, tmp_path: Path, triple: tuple[int, int, int], hooks: set[str]
) -> None:
    """And stay afterwards if it needs them."""
    kernel.add(triple)
    assert [one.cookie for one in revoke(tmp_path, ALL)] == [0]
    assert set(kernel.events[:2]) == PACKETS
    assert set(kernel.events[2:]) == {"revoked"}
    assert kernel.pinned == len([*PACKETS, "hook_socket_setsockopt", "lock"])
    assert standing_hooks(tmp_path) == {"socket_setsockopt", *hooks}
    assert not list(tmp_path.glob("new_*"))


def test_hooks_that_stand_are_not_attached_again(kernel: Kernel, tmp_path: Path) -> None:
    kernel.add(SCTP)
    revoke(tmp_path, ALL)
    kernel.add(SCTP)
    revoke(tmp_path, ALL)
    assert kernel.events.count("socket_sendmsg") == 1


def test_socket_that_was_revoked_before_needs_its_hooks_too(kernel: Kernel, tmp_path: Path) -> None:
    """For example, if their pins were removed."""
    kernel.add(SCTP, PARENT | REVOKED)
    assert revoke(tmp_path, ALL) == []
    assert "socket_sendmsg" in standing_hooks(tmp_path)


def test_no_hook_is_attached_where_the_first_wall_holds_alone(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "hook_socket_setsockopt").unlink()
    kernel.add(SCTP)
    revoke(tmp_path, ALL)
    assert set(kernel.events) == {"revoked"}


def test_command_attaches_nothing_while_the_kernel_waits_for_a_process(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sockets are revoked all the same."""
    goes_on, tried = threading.Event(), []

    def wait(name: str, _maps: SealMaps) -> int:
        tried.append(name)
        goes_on.wait(10)
        raise OSError("too late")

    monkeypatch.setattr(wall, "_attach", wait)
    monkeypatch.setattr(wall, "_ATTACH_S", 0.01)
    kernel.add(SCTP)
    assert len(revoke(tmp_path, ALL)) == 1
    goes_on.set()
    assert (len(tried), set(kernel.events)) == (1, {"revoked"})


def test_hooks_stay_if_the_command_fails_midway(kernel: Kernel, tmp_path: Path) -> None:
    """Some sockets may be revoked."""

    def fail() -> None:
        raise PermissionError("it can't")

    kernel.before_it_revokes = fail
    with pytest.raises(PermissionError):
        revoke(tmp_path, ALL)
    assert standing_hooks(tmp_path) >= PACKETS


def test_sockets_are_revoked_although_the_kernel_refuses_a_hook_and_the_reason_is_told(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first wall stops most of them."""
    kernel.add(SCTP)
    kernel.refuses = True
    assert len(revoke(tmp_path, ALL)) == 1
    monkeypatch.setattr(revoking, "missing_hooks", lambda *_: PACKETS)
    assert "lacks socket_recvmsg, socket_sendmsg" in str(why_not_stopped(tmp_path))
    monkeypatch.setattr(revoking, "missing_hooks", lambda *_: {"socket_listen"})
    assert why_not_stopped(tmp_path) is None


def test_associations_that_can_not_be_ended_are_reported(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their sockets may have queued data. If they can't be listed, there can be some."""
    kernel.add(SCTP)
    revoke(tmp_path, ALL)
    monkeypatch.setattr(revoking, "missing_hooks", lambda *_: set())
    assert why_not_stopped(tmp_path) is None
    kernel.associations.append("one")
    assert "associations of sctp can't be aborted (1)" in str(why_not_stopped(tmp_path))
    monkeypatch.setattr(revoking, "open_associations", refuse_memory)
    assert "can't be listed (Cannot allocate memory)" in str(why_not_stopped(tmp_path))


def test_failure_to_abort_is_no_failure_to_revoke(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left is counted then."""
    kernel.add(SCTP)
    tried = []
    monkeypatch.setattr(revoking, "abort_associations", lambda maps: tried.append(1) or refuse_memory(maps))
    abort_stopped(tmp_path)
    assert tried == [1]


def refuse_memory(_maps: SealMaps) -> set[str]:
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


def test_broker_removes_no_hook_while_sockets_are_revoked(kernel: Kernel, tmp_path: Path) -> None:
    """What it knows of the sockets can be older. Afterwards it does."""
    kernel.add(SCTP)
    for name in PACKETS:
        (tmp_path / f"hook_{name}").write_text("")
    kernel.before_it_revokes = lambda: remove_superfluous(tmp_path, lambda: {"socket_setsockopt"})
    revoke(tmp_path, ALL)
    assert standing_hooks(tmp_path) >= PACKETS
    remove_superfluous(tmp_path, lambda: {"socket_setsockopt"})
    assert standing_hooks(tmp_path) == {"socket_setsockopt"}


def test_broker_that_hangs_does_not_hold_up_the_command_which_says_so(kernel: Kernel, tmp_path: Path) -> None:
    kernel.add(SCTP)
    for name in PACKETS:
        (tmp_path / f"hook_{name}").write_text("")
    with broker_at_work(tmp_path), pytest.raises(OSError, match="the broker hangs"):
        revoke(tmp_path, ALL)
    assert set(kernel.events[:2]) == PACKETS
    assert kernel.sockets[0].is_revoked


@contextmanager
def broker_at_work(directory: Path) -> Iterator[None]:
    """Have the lock that a broker takes to remove programs."""
    (directory / "lock").mkdir()
    fd = os.open(directory / "lock", os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@pytest.mark.parametrize(("triple", "fails"), [(SCTP, True), (TCP, False)])
def test_command_without_the_lock_says_what_failed_if_the_broker_removed_its_programs(
    kernel: Kernel, tmp_path: Path, triple: tuple[int, int, int], fails: bool
) -> None:
    """The broker takes them for those of a command that was killed. The sockets stay revoked."""
    kernel.add(triple)
    kernel.before_it_revokes = lambda: remove_new_pins(tmp_path)
    with broker_at_work(tmp_path), pytest.raises(OSError, match="the broker hangs") if fails else nullcontext():
        revoke(tmp_path, ALL)
    assert kernel.sockets[0].is_revoked


def test_command_says_what_failed_if_its_programs_were_removed(kernel: Kernel, tmp_path: Path) -> None:
    kernel.add(SCTP)
    kernel.before_it_revokes = lambda: remove_new_pins(tmp_path)
    with pytest.raises(OSError, match="revoked, but the second wall has lost socket_recvmsg, socket_sendmsg: revoke"):
        revoke(tmp_path, ALL)
    assert kernel.sockets[0].is_revoked
    kernel.before_it_revokes = lambda: None
    revoke(tmp_path, ALL)
    assert "socket_sendmsg" in standing_hooks(tmp_path)


def test_error_of_the_command_is_told_even_if_its_programs_were_removed(kernel: Kernel, tmp_path: Path) -> None:
    def fail() -> None:
        remove_new_pins(tmp_path)
        raise PermissionError("it can't")

    kernel.before_it_revokes = fail
    with pytest.raises(PermissionError, match="it can't"):
        revoke(tmp_path, ALL)


def remove_new_pins(directory: Path) -> None:
    for place in directory.glob("new_*"):
        place.unlink()
