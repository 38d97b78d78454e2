"""The second wall has only the programs that someone needs, and is built and repaired without a gap."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import pytest

from nsbrokerd.policy import AddressRule, Grant, Limit, NamespaceRule, Policy
from nsbrokerd.policy.kinds import KIND_OF_TRIPLE
from nsbrokerd.seal import Seal, SealError, bpf, running, wall
from nsbrokerd.seal.kernel import KernelLayout
from nsbrokerd.seal.layout import BOUND, CHOSEN, CLONED, CUT, PARENT, REVOKED, SEVERAL
from nsbrokerd.seal.maps import SealMaps
from nsbrokerd.seal.programs.calls import HOOKS
from nsbrokerd.seal.programs.iterator import LiveSocket
from nsbrokerd.seal.thread import SealedThread
from nsbrokerd.seal.wall import (
    WallError,
    build,
    hooks_for,
    hooks_for_change,
    kinds_in_use,
    needed_hooks,
    packet_hooks_for,
    remove_superfluous,
    standing_hooks,
)

MAPS = SealMaps(-1, -1, -1, {})


PACKETS = {"socket_sendmsg", "socket_recvmsg"}
UDPLITE, SCTP, ONE_TO_ONE = (10, 2, 136), (2, 5, 132), (10, 1, 132)
IN_FORCE, ANYWHERE, GONE = 1, 2, 3
"""Ids of grants: one that limits connecting, one that does not, and one that is no more."""


def live(*triple: int, grant: int = IN_FORCE, flags: int = 0, cookie: int = 1) -> LiveSocket:
    family, kind, protocol = triple
    head = cookie, grant, 1, 1, 1, 1, flags, family, 0, kind, protocol, 0
    return LiveSocket(*head, b"\0\0", bytes(4), bytes(4), b"", b"")


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> list[LiveSocket]:
    """The sockets in use. The kernel has the limits of two grants."""
    listed: list[LiveSocket] = []
    monkeypatch.setattr(
        wall, "all_live", lambda _maps, protocol=None: [one for one in listed if protocol in (None, one.protocol)]
    )
    in_force = {IN_FORCE: True, ANYWHERE: False}.get
    monkeypatch.setattr(wall, "limits_in_force", lambda _maps: contextlib.nullcontext(in_force))
    return listed


def test_hooks_for_each_packet_are_only_for_kinds_that_need_them() -> None:
    """They cost time on every socket of the host."""
    assert hooks_for(()) == set()
    for kind in ("tcp", "mptcp", "udp", "udplite", "icmp", "raw:udp"):
        assert not hooks_for([kind]) & PACKETS
    assert hooks_for(["sctp"]) == set(HOOKS)


@pytest.mark.parametrize(
    ("triple", "flags", "limits_connecting", "needs"),
    [
        (UDPLITE, CUT, True, False),
        (UDPLITE, 0, None, False),
        ((2, 2, 0), REVOKED, None, False),
        ((2, 1, 6), CUT, True, False),
        ((10, 2, 58), REVOKED, None, False),
        (SCTP, 0, True, False),
        (SCTP, REVOKED, True, False),
        (SCTP, CUT | CHOSEN, False, False),
        (SCTP, 0, None, False),
        (SCTP, CLONED | CHOSEN, True, False),
        (SCTP, CLONED | REVOKED, False, True),
        (SCTP, CLONED | CUT, True, True),
        (SCTP, CLONED, None, True),
        (SCTP, PARENT, True, False),
        (SCTP, PARENT | REVOKED, True, True),
        (SCTP, PARENT | CUT, False, True),
        (SCTP, PARENT, None, True),
        (SCTP, PARENT | SEVERAL, True, True),
        (SCTP, PARENT | CHOSEN, True, True),
        (SCTP, PARENT | SEVERAL | CHOSEN, False, False),
        (SCTP, SEVERAL | CHOSEN, True, False),
        ((2, 77, 6), 0, True, False),
        ((2, 77, 6), CUT | PARENT, True, True),
    ],
)
def test_hooks_for_each_packet_are_for_sockets_that_the_first_wall_can_not_stop(
    triple: tuple[int, int, int], flags: int, limits_connecting: bool | None, needs: bool
) -> None:
    """The owner may have asked SCTP to make another one of it, in a call that still goes on."""
    for one in (triple, ONE_TO_ONE) if triple == SCTP else (triple,):
        assert packet_hooks_for(live(*one, flags=flags | BOUND), limits_connecting) == (PACKETS if needs else set())


def test_listener_of_an_older_broker_can_still_accept() -> None:
    """It lacks the mark."""
    listener = live(*ONE_TO_ONE, flags=CUT)._replace(state=10)
    assert packet_hooks_for(listener, limits_connecting=True) == PACKETS
    assert packet_hooks_for(listener._replace(type=5), limits_connecting=True) == set()


def test_hooks_for_each_packet_are_needed_only_while_a_socket_that_needs_them_is_in_use(
    sockets: list[LiveSocket],
) -> None:
    """All others are needed from the moment on at which the policy limits the kind."""
    kinds = {"tcp", "udplite", "sctp"}
    sockets += [live(2, 1, 6, flags=REVOKED), live(*UDPLITE, grant=GONE), live(*SCTP, grant=ANYWHERE)]
    assert needed_hooks(MAPS, kinds) == needed_hooks(MAPS, ()) == set(HOOKS) - PACKETS
    sockets += [live(*ONE_TO_ONE), live(*SCTP), live(*SCTP, grant=GONE)]
    assert needed_hooks(MAPS, kinds) == set(HOOKS) - PACKETS
    for one in (live(*ONE_TO_ONE, grant=GONE, flags=PARENT), live(*SCTP, flags=CUT | CLONED)):
        sockets.append(one)
        assert needed_hooks(MAPS, kinds) == set(HOOKS)
        sockets.remove(one)


def test_all_hooks_of_kinds_in_use_stand_while_limits_change(sockets: list[LiveSocket], tmp_path: Path) -> None:
    """Any of these sockets can be cut off. A socket that SCTP makes meanwhile can be missing from the list."""
    assert not hooks_for_change(tmp_path, MAPS, {"udplite", "sctp"}) & PACKETS
    sockets.append(live(*UDPLITE))
    assert not hooks_for_change(tmp_path, MAPS, {"tcp"}) & PACKETS
    sockets.append(live(*SCTP))
    assert hooks_for_change(tmp_path, MAPS, {"tcp"}) >= PACKETS
    sockets.clear()
    (tmp_path / "hook_sctp_sk_clone").write_text("")
    assert hooks_for_change(tmp_path, MAPS, {"tcp"}) >= PACKETS


def test_hooks_for_each_packet_are_needed_if_the_kernel_can_not_list_sockets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(_maps: SealMaps) -> list[LiveSocket]:
        raise PermissionError("it can't")

    monkeypatch.setattr(wall, "all_live", refuse)
    assert needed_hooks(MAPS, ["tcp"]) == hooks_for_change(tmp_path, MAPS, ["tcp"]) == set(HOOKS)


def test_kinds_of_live_sockets_count() -> None:
    """A socket of an unknown kind counts as one of each."""
    assert kinds_in_use([live(2, 1, 6), live(10, 2, 136)]) == {"tcp", "udplite"}
    assert {"tcp", "udp", "sctp", "raw:udp"} <= kinds_in_use([live(2, 77, 6)]) <= set(KIND_OF_TRIPLE.values())


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
    assert sorted(os.listdir(tmp_path)) == ["hook_socket_listen", "lock"]
    assert (tmp_path / "hook_socket_listen").read_text() == "2"


@pytest.fixture
def seal(tmp_path: Path) -> Seal:
    return Seal(tmp_path, SealMaps(0, 0, 0, {}), cast("SealedThread", None), ExitStack())


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
    sockets.append(live(*SCTP, grant=ANYWHERE))
    seal.load_limits(policy("tcp"))
    assert set(kernel[: kernel.index("limits")]) >= PACKETS
    assert kernel[kernel.index("limits") :] == ["limits", "sweep"]
    assert not standing_hooks(tmp_path) & PACKETS
    sockets[:] = [live(*ONE_TO_ONE, grant=GONE, flags=PARENT)]
    seal.load_limits(policy("tcp"))
    assert standing_hooks(tmp_path) >= PACKETS


def test_hooks_stay_if_the_kernel_does_not_tell_whether_they_are_needed(
    kernel: list[str], seal: Seal, sockets: list[LiveSocket], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limits have changed, so the reload has not failed."""
    sockets.append(live(*SCTP, grant=ANYWHERE))
    with monkeypatch.context() as patch:
        patch.setattr(wall, "limits_in_force", refuse_memory)
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
    sockets.append(live(*ONE_TO_ONE, grant=GONE, flags=PARENT))
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
    needing = live(*SCTP, grant=ANYWHERE, flags=CLONED | CUT)
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
        patch.setattr(wall, "all_live", refuse_memory)
        seal.tidy()
    assert standing_hooks(tmp_path) == before
    monkeypatch.setattr(running.time, "monotonic", lambda: now_s + 121)
    seal.tidy()
    assert standing_hooks(tmp_path) == before - PACKETS
    sockets.append(needing)
    kernel.clear()
    seal.load_limits(policy("tcp"))
    assert set(kernel) >= PACKETS


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
    monkeypatch.setattr(wall, "all_live", refuse_memory)
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
    sockets.append(live(*SCTP, grant=ANYWHERE))
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
    with pytest.raises(SealError, match=told):
        seal.load_limits(policy("sctp", connect=["10.0.0.1:80"]))


def refuse_memory(*_: object) -> int:
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
        sockets.append(live(*SCTP, grant=ANYWHERE))
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
