"""Each hook of the second wall is needed for some limits, or some sockets in use, and for no others."""

from __future__ import annotations

import pytest

from nsbrokerd.policy.kinds import KIND_OF_TRIPLE
from nsbrokerd.seal import needed
from nsbrokerd.seal.layout import BOUND, CHOSEN, CLONED, CUT, PARENT, REVOKED, SEVERAL
from nsbrokerd.seal.maps import SealMaps
from nsbrokerd.seal.needed import escapes_first_wall, hooks_for, hooks_for_change, kinds_in_use, needed_hooks
from nsbrokerd.seal.programs.associations import Association
from nsbrokerd.seal.programs.calls import HOOKS
from nsbrokerd.seal.programs.iterator import LiveSocket
from support.live_sockets import MAPS, ONE_TO_ONE, PACKETS, SCTP, UDPLITE, association, live


def test_hooks_for_each_packet_are_only_for_kinds_that_need_them() -> None:
    """They cost time on every socket of the host."""
    assert hooks_for(()) == set()
    for kind in ("tcp", "mptcp", "udp", "udplite", "icmp", "raw:udp"):
        assert not hooks_for([kind]) & PACKETS
    assert hooks_for(["sctp"]) == set(HOOKS)


@pytest.mark.parametrize(
    ("triple", "flags", "escapes"),
    [
        (UDPLITE, CUT, False),
        ((2, 2, 0), REVOKED, False),
        ((2, 1, 6), CUT, False),
        ((10, 2, 58), REVOKED, False),
        (SCTP, REVOKED, False),
        (SCTP, CUT | CHOSEN | SEVERAL, False),
        (SCTP, CLONED | CHOSEN, True),
        (SCTP, CLONED | REVOKED, True),
        (SCTP, PARENT | CUT, True),
        ((2, 77, 6), CUT, False),
        ((2, 77, 6), CUT | PARENT, True),
    ],
)
def test_hooks_for_each_packet_are_for_sockets_that_the_first_wall_can_not_stop(
    triple: tuple[int, int, int], flags: int, escapes: bool
) -> None:
    """The owner may have asked SCTP to make another one of it, in a call that still goes on."""
    for one in (triple, ONE_TO_ONE) if triple == SCTP else (triple,):
        assert escapes_first_wall(live(*one, flags=flags | BOUND)) == escapes


def test_listener_of_an_older_broker_can_still_accept() -> None:
    """It lacks the mark."""
    listener = live(*ONE_TO_ONE, flags=CUT)._replace(state=10)
    assert escapes_first_wall(listener)
    assert not escapes_first_wall(listener._replace(type=5))


def test_hooks_for_each_packet_are_needed_only_while_a_socket_that_needs_them_is_in_use(
    sockets: list[LiveSocket], listed: set[Association]
) -> None:
    """All others are needed from the moment on at which the policy limits the kind."""
    kinds = {"tcp", "udplite", "sctp"}
    sockets += [live(2, 1, 6, flags=REVOKED), live(*UDPLITE, flags=CUT), live(*SCTP)]
    assert needed_hooks(MAPS, kinds) == needed_hooks(MAPS, ()) == set(HOOKS) - PACKETS
    sockets += [live(*ONE_TO_ONE, flags=PARENT), live(*SCTP, flags=CLONED), live(*SCTP, flags=CUT)]
    assert needed_hooks(MAPS, kinds) == set(HOOKS) - PACKETS
    parent, made = live(*ONE_TO_ONE, flags=CUT | PARENT, cookie=8), live(*SCTP, flags=CUT | CLONED, cookie=9)
    for one, found, ended, is_needed in (
        (parent, [], {9}, True),
        (parent, [], {8}, False),
        (parent, [association(7)], {8}, True),
        (made, [], (), False),
        (made, [association(7)], (), True),
    ):
        sockets.append(one)
        listed |= set(found)
        assert (needed_hooks(MAPS, kinds, set(ended)) == set(HOOKS)) == is_needed
        sockets.remove(one)
        listed.clear()


def test_all_hooks_of_kinds_in_use_stand_while_limits_change(sockets: list[LiveSocket]) -> None:
    """Any of these sockets can be cut off. A socket that SCTP makes meanwhile can be missing from the list."""
    assert not hooks_for_change(MAPS, {"udplite", "sctp"}, set()) & PACKETS
    sockets.append(live(*UDPLITE))
    assert not hooks_for_change(MAPS, {"tcp"}, set()) & PACKETS
    sockets.append(live(*SCTP))
    assert hooks_for_change(MAPS, {"tcp"}, set()) >= PACKETS
    sockets.clear()
    assert hooks_for_change(MAPS, {"tcp"}, {"sctp_sk_clone"}) >= PACKETS


def test_hooks_for_each_packet_are_needed_if_the_kernel_can_not_list_sockets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_maps: SealMaps) -> list[LiveSocket]:
        raise PermissionError("it can't")

    monkeypatch.setattr(needed, "all_live", refuse)
    assert needed_hooks(MAPS, ["tcp"]) == hooks_for_change(MAPS, ["tcp"], set()) == set(HOOKS)


def test_kinds_of_live_sockets_count() -> None:
    """A socket of an unknown kind counts as one of each."""
    assert kinds_in_use([live(2, 1, 6), live(10, 2, 136)]) == {"tcp", "udplite"}
    assert {"tcp", "udp", "sctp", "raw:udp"} <= kinds_in_use([live(2, 77, 6)]) <= set(KIND_OF_TRIPLE.values())


def test_parents_that_began_associations_never_stop_counting(sockets: list[LiveSocket]) -> None:
    """A call can still begin one, and another call peel it off."""
    sockets += [
        live(*SCTP, flags=CUT | PARENT, cookie=1),
        live(*SCTP, flags=CUT | PARENT | CHOSEN, cookie=2),
        live(*SCTP, flags=CUT | CLONED | CHOSEN, cookie=3),
        live(*SCTP, flags=PARENT, cookie=4),
    ]
    assert needed.stopped_parents(MAPS) == {1}
    assert needed_hooks(MAPS, (), {1}) >= PACKETS
    del sockets[1]
    assert not needed_hooks(MAPS, (), {1}) & PACKETS
