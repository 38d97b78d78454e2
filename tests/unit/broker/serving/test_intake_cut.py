"""A refusal is written and sent in a piece of its own if others wait."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from nsbrokerd.policy.plans import Refusal
from nsbrokerd.requests.operation import Received
from nsbrokerd.serving.intake import Intake
from nsbrokerd.sockets.time_slice import Steps
from support.steps import count_steps

REFUSAL = Refusal("denied", "no grant covers this")


def refuse() -> Steps[Any]:
    yield from ()
    return REFUSAL


class Place:
    """An intake whose time is up or not, and the outcomes that it sends."""

    def __init__(self, *, is_over: bool) -> None:
        self.sent: list[object] = []
        time_slice = SimpleNamespace(is_over=lambda: is_over)
        reply = lambda _client, _request, outcome: self.sent.append(outcome)  # noqa: E731
        dispatcher: Any = SimpleNamespace(opening=None, time_slice=time_slice, reply=reply)
        self._intake = Intake(dispatcher, SimpleNamespace(), SimpleNamespace())  # type: ignore[arg-type]  # fakes

    def serve(self, fds: list[int]) -> Steps[bool]:
        received: Any = Received(None, None, fds, b"", None)  # type: ignore[arg-type]  # nothing looks at them
        return self._intake._serve_in_steps(None, received, refuse())  # type: ignore[arg-type]


@pytest.mark.parametrize("is_over", [True, False])
def test_others_go_before_a_refusal_is_sent(*, is_over: bool) -> None:
    place = Place(is_over=is_over)
    cuts, _ = count_steps(place.serve([]))
    assert (cuts, place.sent) == (int(is_over), [REFUSAL])


def test_client_that_is_gone_at_the_cut_leaves_no_descriptor() -> None:
    place = Place(is_over=True)
    fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    steps = place.serve([fd])
    next(steps)
    steps.close()
    assert place.sent == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
