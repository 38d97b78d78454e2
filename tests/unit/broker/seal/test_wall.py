"""The second wall has only the programs that someone needs, and is built and repaired without a gap."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn, TypeVar, cast

import pytest

from nsbrokerd.policy import AddressRule, Grant, Limit, NamespaceRule, Policy
from nsbrokerd.seal import Seal, SealError, aborting, bpf, needed, running, wall
from nsbrokerd.seal.kernel import KernelLayout
from nsbrokerd.seal.layout import CUT, PARENT, REVOKED
from nsbrokerd.seal.maps import SealMaps
from nsbrokerd.seal.programs.associations import Association
from nsbrokerd.seal.programs.calls import HOOKS
from nsbrokerd.seal.programs.iterator import LiveSocket
from nsbrokerd.seal.thread import SealedThread
from nsbrokerd.seal.wall import (
    WallError,
    build,
    detach_in_child,
    detach_removed,
    remove_superfluous,
    standing_hooks,
)
from support.live_sockets import MAPS, ONE_TO_ONE, PACKETS, SCTP, association, live

T = TypeVar("T")


@pytest.fixture
def attached(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the kernel by a list of hooks in the order in which they were attached. A pin is a file."""
    names: list[str] = []

    def attach(name: str, _maps: SealMaps) -> int:
        names.append(name)
        return os.open("/dev/null", os.O_RDONLY)

    monkeypatch.setattr(wall, "_attach", attach)
    monkeypatch.setattr(wall, "kernel_layout", lambda: KernelLayout({}, 1, dict.fromkeys(HOOKS, 1)))
    monkeypatch.setattr(bpf, "pin", lambda _fd, path: Path(path).write_text(f"{len(names)}"))
    return names


def test_wall_is_built_once_and_repaired_where_a_pin_is_gone(attached: list[str], tmp_path: Path) -> None:
    hooks = {"socket_listen", "socket_accept"}
    build(tmp_path, MAPS, hooks, anew=True)
    assert (sorted(attached), standing_hooks(tmp_path)) == (sorted(hooks), hooks)
    build(tmp_path, MAPS, hooks, anew=False)
    assert len(attached) == 2
    (tmp_path / "hook_socket_listen").unlink()
    build(tmp_path, MAPS, hooks, anew=False)
    assert (attached[2:], standing_hooks(tmp_path)) == (["socket_listen"], hooks)


def test_next_broker_replaces_every_program_in_place(attached: list[str], tmp_path: Path) -> None:
    """A rename takes the former program away when the new one already runs."""
    build(tmp_path, MAPS, {"socket_listen"}, anew=True)
    (tmp_path / "new_hook_socket_accept").write_text("of a broker that was killed")
    build(tmp_path, MAPS, {"socket_listen"}, anew=True)
    assert attached == ["socket_listen"] * 2
    remove_superfluous(tmp_path, lambda: {"socket_listen"})
    detach_removed(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["hook_socket_listen", "lock"]
    assert (tmp_path / "hook_socket_listen").read_text() == "2"


@pytest.fixture
def seal(tmp_path: Path, sockets: list[LiveSocket], monkeypatch: pytest.MonkeyPatch) -> Iterator[Seal]:
    monkeypatch.setattr(aborting, "_PAUSE_S", 0)
    assert sockets == []
    made = Seal(tmp_path, SealMaps(0, 0, 0, {}), cast("SealedThread", None), ExitStack())
    yield made
    made.close()


def policy(*kinds: str, connect: list[str] | None = None, name: str = "limited") -> Policy:
    limit = Limit(None if connect is None else tuple(map(AddressRule.parse, connect)), ())
    return Policy((Grant(name, None, frozenset(), NamespaceRule.parse(["*"]), frozenset(kinds), limit=limit),))


@pytest.fixture
def kernel(attached: list[str], sockets: list[LiveSocket], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the rest of the kernel, too. A change of limits is an entry of the list of hooks."""
    assert sockets == []
    monkeypatch.setattr(running, "why_no_second_wall", lambda: None)
    monkeypatch.setattr(running, "why_not_listed", lambda: None)
    monkeypatch.setattr(
        running, "former_limits", lambda _maps: contextlib.nullcontext(lambda: attached.append("former limits"))
    )
    monkeypatch.setattr(running, "load_limits", lambda *_: attached.append("limits"))
    monkeypatch.setattr(running, "sweep", lambda *_: attached.append("sweep"))
    return attached


def test_hooks_stand_before_limits_change_and_are_removed_if_no_socket_is_cut_off(
    kernel: list[str], seal: Seal, sockets: list[LiveSocket], tmp_path: Path
) -> None:
    sockets.append(live(*SCTP))
    seal.load_limits(policy("tcp"))
    assert set(kernel[: kernel.index("limits")]) >= PACKETS
    assert kernel[kernel.index("limits") :] == ["limits", "sweep"]
    assert not standing_hooks(tmp_path) & PACKETS
    sockets[:] = [live(*ONE_TO_ONE, flags=CUT | PARENT)]
    seal.load_limits(policy("tcp"))
    assert standing_hooks(tmp_path) >= PACKETS


def test_hooks_stay_if_the_kernel_does_not_tell_whether_they_are_needed(
    kernel: list[str], seal: Seal, sockets: list[LiveSocket], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limits have changed, so the reload has not failed."""
    sockets.append(live(*SCTP))
    with monkeypatch.context() as patch:
        patch.setattr(needed, "all_live", failing_after(3, needed.all_live))
        seal.load_limits(policy("tcp"))
    assert kernel[-1] == "sweep"
    assert standing_hooks(tmp_path) >= PACKETS
    seal.load_limits(policy("tcp"))
    assert not standing_hooks(tmp_path) & PACKETS


@pytest.fixture
def revoke_at_work(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Have the lock of `nsbrokerd revoke`, until the function is called."""
    (tmp_path / "lock").mkdir()
    with ExitStack() as stack:
        fd = os.open(tmp_path / "lock", os.O_RDONLY)
        stack.callback(os.close, fd)
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield stack.close


def test_superfluous_programs_are_removed_once_revoke_has_ended(
    kernel: list[str], seal: Seal, sockets: list[LiveSocket], tmp_path: Path, revoke_at_work: Callable[[], None]
) -> None:
    """For example those of another version. A socket in use keeps its programs."""
    for name in ("of_another_version", "socket_recvmsg"):
        (tmp_path / f"hook_{name}").write_text("of another version")
    seal.load_limits(policy("tcp"))
    seal.tidy()
    assert standing_hooks(tmp_path) >= {"of_another_version", "socket_recvmsg"}
    sockets.append(live(*ONE_TO_ONE, flags=CUT | PARENT))
    revoke_at_work()
    seal.tidy()
    assert standing_hooks(tmp_path) == {*kernel, "socket_recvmsg"} - {"limits", "sweep"}
    sockets.clear()
    seal.load_limits(policy("tcp"))
    assert not standing_hooks(tmp_path) & PACKETS


def test_hooks_for_each_packet_are_removed_within_a_minute_of_the_end_of_the_sockets_that_need_them(
    kernel: list[str], seal: Seal, sockets: list[LiveSocket], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other programs stay until the next reload. Whether other sockets are in use costs the broker time."""
    needing = live(*SCTP, flags=PARENT | CUT)
    sockets += [needing, live(2, 1, 6)]
    seal.load_limits(policy("tcp"))
    before = standing_hooks(tmp_path)
    assert before >= PACKETS
    seal.tidy()
    sockets.remove(needing)
    seal.tidy()
    assert standing_hooks(tmp_path) == before
    now_s = time.monotonic()
    monkeypatch.setattr(running.time, "monotonic", lambda: now_s + 60)
    with monkeypatch.context() as patch:
        patch.setattr(needed, "all_live", refuse_memory)
        seal.tidy()
    assert standing_hooks(tmp_path) == before
    monkeypatch.setattr(running.time, "monotonic", lambda: now_s + 121)
    seal.tidy()
    assert standing_hooks(tmp_path) == before - PACKETS
    sockets.append(needing)
    kernel.clear()
    seal.load_limits(policy("tcp"))
    assert set(kernel) >= PACKETS


@pytest.fixture
def in_a_minute(seal: Seal, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let a minute pass, and the broker look."""
    now_s = [time.monotonic()]

    def wait() -> None:
        seal._aborter.wait()
        now_s[0] += 61
        monkeypatch.setattr(running.time, "monotonic", lambda: now_s[0])
        seal.tidy()

    return wait


def test_hooks_for_each_packet_are_removed_a_minute_after_the_last_association_of_a_stopped_socket(
    kernel: list[str], seal: Seal, sockets: list[LiveSocket], tmp_path: Path, in_a_minute: Callable[[], None]
) -> None:
    """Until then, calls can go on that were checked before the socket was stopped. The socket stays open."""
    sockets.append(live(*ONE_TO_ONE, flags=CUT | PARENT, cookie=1))
    seal.load_limits(policy("tcp"))
    seal.tidy()
    assert standing_hooks(tmp_path) >= PACKETS
    sockets.append(live(*ONE_TO_ONE, flags=REVOKED | PARENT, cookie=2))
    in_a_minute()
    assert standing_hooks(tmp_path) >= PACKETS, "another socket was stopped meanwhile"
    in_a_minute()
    assert not standing_hooks(tmp_path) & PACKETS
    assert kernel.count("socket_sendmsg") == 1


@pytest.mark.parametrize(("tag", "state"), [(7, 3), (0, 0), (0, 255)], ids=["one", "unknown", "locked"])
def test_hooks_for_each_packet_stay_while_a_stopped_socket_can_have_an_association(
    kernel: list[str],
    seal: Seal,
    sockets: list[LiveSocket],
    listed: set[Association],
    tmp_path: Path,
    in_a_minute: Callable[[], None],
    tag: int,
    state: int,
) -> None:
    """For example, one that can't be ended. They come back if a call made a socket that has one after all."""
    sockets.append(live(*ONE_TO_ONE, flags=CUT | PARENT))
    listed.add(association(tag, state))
    seal.load_limits(policy("sctp"))
    for _ in range(3):
        in_a_minute()
    assert standing_hooks(tmp_path) >= PACKETS
    listed.clear()
    for _ in range(2):
        in_a_minute()
    assert not standing_hooks(tmp_path) & PACKETS
    listed.add(association(tag, state))
    in_a_minute()
    is_locked = state == 255
    assert is_locked != (standing_hooks(tmp_path) >= PACKETS)
    assert kernel.count("socket_sendmsg") == (1 if is_locked else 2)


def test_hooks_for_each_packet_stay_if_a_call_made_a_socket_that_has_an_association_just_in_time(
    kernel: list[str],
    seal: Seal,
    sockets: list[LiveSocket],
    listed: set[Association],
    tmp_path: Path,
    in_a_minute: Callable[[], None],
) -> None:
    """It was checked before the socket was stopped."""
    assert kernel == []
    sockets.append(live(*ONE_TO_ONE, flags=CUT | PARENT))
    seal.load_limits(policy("sctp"))
    seal._aborter.wait()
    assert seal._aborter.ended_before(time.monotonic()) == {1}, "the reload has not aborted the associations"
    listed.add(association(7))
    in_a_minute()
    assert standing_hooks(tmp_path) >= PACKETS


def test_hooks_for_each_packet_are_missed_only_while_a_stopped_socket_has_an_association(
    sockets: list[LiveSocket], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wall, "open_maps", lambda _directory: contextlib.nullcontext(MAPS))
    monkeypatch.setattr(wall, "closing", lambda maps: maps)
    monkeypatch.setattr(wall, "kernel_layout", lambda: KernelLayout({}, 1, dict.fromkeys(HOOKS, 1)))
    sockets.append(live(*ONE_TO_ONE, flags=CUT | PARENT))
    for found, is_missed in (([], False), ([association(0, state=255)], False), ([association(7)], True)):
        monkeypatch.setattr(needed, "list_associations", lambda _maps, found=found: set(found))
        assert (wall.missing_hooks(tmp_path, ()) >= PACKETS) == is_missed


def test_programs_of_another_version_are_replaced_before_a_socket_needs_them(
    kernel: list[str], seal: Seal, sockets: list[LiveSocket], tmp_path: Path, revoke_at_work: Callable[[], None]
) -> None:
    """They can stand longer than the first reload."""
    for name in PACKETS:
        (tmp_path / f"hook_{name}").write_text("of another version")
    seal.load_limits(policy("tcp"))
    assert not set(kernel) & PACKETS
    sockets.append(live(*SCTP))
    seal.load_limits(policy("tcp"))
    assert sorted(name for name in kernel if name in PACKETS) == sorted(PACKETS)
    revoke_at_work()


def test_programs_that_revoke_of_another_version_has_left_are_replaced(
    kernel: list[str], seal: Seal, sockets: list[LiveSocket], tmp_path: Path
) -> None:
    """Also if the broker has attached, and removed, its own ones before."""
    sockets.append(live(*SCTP))
    seal.load_limits(policy("tcp"))
    assert "socket_sendmsg" not in standing_hooks(tmp_path)
    (tmp_path / "hook_socket_sendmsg").write_text("of another version")
    seal.load_limits(policy("tcp"))
    assert kernel.count("socket_sendmsg") == 2


def test_limits_are_in_force_though_it_is_unknown_which_programs_stand(
    kernel: list[str], seal: Seal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the reload must not fail, and the next one attaches all anew. For example, no descriptor is left."""
    seal.load_limits(policy("tcp"))
    with monkeypatch.context() as patch:
        patch.setattr(running, "standing_hooks", refuse_memory)
        seal.load_limits(policy("tcp"))
        seal.tidy()
    assert kernel.count("socket_listen") == 1
    seal.load_limits(policy("tcp"))
    assert kernel.count("socket_listen") == 2


def test_programs_of_another_version_are_removed_even_if_sockets_can_not_be_listed(
    kernel: list[str], seal: Seal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("of_another_version", "socket_sendmsg"):
        (tmp_path / f"hook_{name}").write_text("")
    monkeypatch.setattr(needed, "all_live", refuse_memory)
    seal.load_limits(policy("tcp"))
    assert kernel[-1] == "sweep"
    assert standing_hooks(tmp_path) == set(HOOKS)


@pytest.mark.parametrize("policy_kinds", [("tcp",), ("sctp",)])
def test_limits_do_not_change_if_sockets_in_use_could_not_be_cut_off(
    kernel: list[str],
    seal: Seal,
    sockets: list[LiveSocket],
    policy_kinds: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next reload tries again."""
    seal.load_limits(policy(*policy_kinds))
    kernel.clear()
    sockets.append(live(*SCTP))
    with monkeypatch.context() as patch:
        patch.setattr(wall, "_attach", refuse_memory)
        for _ in range(2):
            with pytest.raises(SealError, match=r"could not be cut off without .*: no memory"):
                seal.load_limits(policy(*policy_kinds))
    assert kernel == []
    seal.load_limits(policy(*policy_kinds))
    assert set(kernel[:-2]) >= PACKETS
    assert kernel[-2:] == ["limits", "sweep"]
    assert seal.why_alone is None


def failing(*outcomes: str | None) -> Callable[..., None]:
    """Return a function that fails by these errors, one after the other. None is a success."""
    left = list(outcomes)

    def fail(*_: object) -> None:
        if (error := left.pop(0)) is not None:
            raise OSError(errno.ENOMEM, error)

    return fail


@pytest.mark.parametrize(
    ("sweeps", "put_back", "told"),
    [
        (["no memory", None], None, "no memory; what was in force before is in force again: reload again later"),
        (["no memory", "none"], None, "in force again, but can leave sockets in use cut off: reload again"),
        (["no memory"], "none", r"the former ones can't be put back \(none\), so new calls have the new ones"),
    ],
)
def test_former_limits_are_put_back_if_sockets_in_use_can_not_be_swept(
    kernel: list[str],
    seal: Seal,
    sweeps: list[str | None],
    put_back: str | None,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The message says what holds."""
    assert kernel == []
    seal.load_limits(policy("sctp", connect=None))
    monkeypatch.setattr(running, "sweep", failing(*sweeps))
    monkeypatch.setattr(running, "former_limits", lambda _maps: contextlib.nullcontext(failing(put_back)))
    seal._aborter.wait()
    seal._aborter._ended = {1: 0.0}
    with pytest.raises(SealError, match=told):
        seal.load_limits(policy("sctp", connect=["10.0.0.1:80"]))
    assert seal._aborter.ended_before(time.monotonic()) == set(), "a stopped parent may have gone on for a while"


def failing_after(calls: int, function: Callable[..., T]) -> Callable[..., T]:
    """Return a function that works for some calls, and then fails."""
    left = [function] * calls

    def fail(*arguments: object) -> T:
        return left.pop()(*arguments) if left else refuse_memory()

    return fail


def refuse_memory(*_: object) -> NoReturn:
    raise OSError(errno.ENOMEM, "no memory")


@pytest.mark.parametrize("kinds", [("tcp",), ("sctp",)])
def test_reload_tries_the_second_wall_again_after_a_failure_that_can_pass(
    kernel: list[str], seal: Seal, sockets: list[LiveSocket], kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile it counts as a wall that lacks programs, and not as one that this host can't have."""

    def refuse() -> None:
        raise WallError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(running, "why_no_second_wall", refuse)
        if kinds == ("sctp",):
            with pytest.raises(SealError, match="can't limit sctp sockets: no memory"):
                seal.load_limits(policy(*kinds))
        else:
            seal.load_limits(policy(*kinds))
            assert (kernel, seal.why_alone) == (["limits", "sweep"], "no memory")
        sockets.append(live(*SCTP))
        with pytest.raises(SealError, match=r"could not be cut off without .*: no memory"):
            seal.load_limits(policy(*kinds))
    seal.load_limits(policy(*kinds))
    assert seal.why_alone is None
    assert set(kernel) > PACKETS


def test_final_answer_about_the_second_wall_is_asked_for_once(
    kernel: list[str], seal: Seal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a tenth of a second."""
    assert kernel == []
    asked: list[str] = []
    monkeypatch.setattr(running, "why_no_second_wall", lambda: asked.append("") or "the kernel refuses it")
    for _ in range(2):
        seal.load_limits(policy("tcp"))
    assert (asked, seal.why_alone) == ([""], "the kernel refuses it")


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.EBUSY])
def test_failure_that_can_pass_is_no_answer(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> SealMaps:
        raise OSError(number, "not now")

    monkeypatch.setattr(wall, "make_maps", refuse)
    with pytest.raises(WallError, match="not now"):
        wall.why_no_second_wall()


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOSYS])
def test_failure_that_can_not_pass_is_an_answer(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> SealMaps:
        raise OSError(number, "never")

    monkeypatch.setattr(wall, "make_maps", refuse)
    assert wall.why_no_second_wall() == "never"


def test_wall_that_was_never_built_is_empty(tmp_path: Path) -> None:
    assert standing_hooks(tmp_path / "none") == set()


def test_main_thread_does_not_wait_until_programs_are_detached(
    kernel: list[str],
    seal: Seal,
    sockets: list[LiveSocket],
    tmp_path: Path,
    in_a_minute: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On some kernels, a user can delay that forever, with a process that never gets to run."""
    assert kernel == []
    began, goes_on = threading.Event(), threading.Event()
    real = Path.unlink

    def unlink(place: Path) -> None:
        began.set()
        assert goes_on.wait(20)
        real(place)

    monkeypatch.setattr(wall.Path, "unlink", unlink)
    sockets.append(live(*SCTP))
    seal.load_limits(policy("sctp"))
    assert began.wait(30)
    assert not standing_hooks(tmp_path) & PACKETS
    assert list(tmp_path.glob("removed_*"))
    seal.load_limits(policy("tcp"))
    goes_on.set()
    for _ in range(2):
        seal._detacher.wait()
        in_a_minute()
    seal._detacher.wait()
    assert not list(tmp_path.glob("removed_*"))


def test_main_thread_waits_for_the_kernel_only_for_a_while(
    kernel: list[str], seal: Seal, sockets: list[LiveSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the kernel detaches a program, it attaches no other one. The next reload tries again."""
    goes_on = threading.Event()
    real = wall._attach

    def attach(name: str, maps: SealMaps) -> int:
        assert goes_on.wait(20)
        return real(name, maps)

    sockets.append(live(*SCTP))
    with monkeypatch.context() as patch:
        patch.setattr(wall, "_attach", attach)
        patch.setattr(wall, "_ATTACH_S", 0.01)
        with pytest.raises(SealError, match="some process does not get to run"):
            seal.load_limits(policy("tcp"))
        goes_on.set()
    assert "limits" not in kernel
    seal.load_limits(policy("tcp"))
    assert "limits" in kernel


def test_trial_of_the_second_wall_waits_for_the_kernel_only_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """It attaches a program, too. This is no answer, so the next reload tries again."""
    goes_on = threading.Event()
    monkeypatch.setattr(wall, "make_maps", lambda: SealMaps(*(os.open("/dev/null", 0) for _ in range(3)), {}))
    monkeypatch.setattr(wall, "kernel_layout", lambda: KernelLayout({}, 1, dict.fromkeys(HOOKS, 1)))
    monkeypatch.setattr(wall, "_load", lambda *_: os.open("/dev/null", 0))
    monkeypatch.setattr(wall, "_is_asked", lambda _maps: goes_on.wait(20))
    monkeypatch.setattr(wall, "_ATTACH_S", 0.01)
    with pytest.raises(WallError, match="some process does not get to run"):
        wall.why_no_second_wall()
    goes_on.set()


def test_command_does_not_wait_until_programs_are_detached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If there is no room for a process, the broker detaches them later."""
    place = tmp_path / "removed_hook_1"
    place.write_text("")
    real, (reader, writer) = Path.unlink, os.pipe()
    waker = threading.Timer(20, os.write, (writer, b"x"))
    waker.start()

    def unlink(place: Path) -> None:
        os.read(reader, 1)
        real(place)

    monkeypatch.setattr(wall.Path, "unlink", unlink)
    detach_in_child(tmp_path)
    assert place.exists()
    waker.cancel()
    os.write(writer, b"x")
    os.wait()
    assert not place.exists()
    for fd in (reader, writer):
        os.close(fd)
    place.write_text("")
    monkeypatch.setattr(os, "fork", refuse_memory)
    detach_in_child(tmp_path)
    assert place.exists()
