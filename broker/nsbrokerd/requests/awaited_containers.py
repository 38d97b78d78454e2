"""The pace of requests that wait for a container: all of them together ask for a name four times a second.

Engines report events late, and an event proves nothing. So there is no watch: the requests ask again, in turn.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

PAUSE_S = 0.25
"""The least time between two questions for a name, of all requests that wait for it."""

_LOOK_S = 1.0
"""How often a request looks whether its client is gone."""


class _Awaited:
    """A name that requests wait for. The first of them is the next to ask."""

    def __init__(self, now: float) -> None:
        self.queue: dict[trio.Event, None] = {}
        self.next_at = now + PAUSE_S
        self.came = trio.Event()

    def is_next(self, turn: trio.Event) -> bool:
        """Return whether it is a request's turn. Its event is set when that begins."""
        return next(iter(self.queue)) is turn

    def leave(self, turn: trio.Event) -> None:
        """Take a request out of the queue."""
        del self.queue[turn]
        for following in self.queue:
            following.set()
            return


class AwaitedContainers:
    """The names that requests wait for."""

    def __init__(self) -> None:
        self._names: dict[str, _Awaited] = {}

    async def wait(self, name: str, deadline: float, is_gone: Callable[[], bool]) -> None:
        """Wait until the request may ask for a name, or another one has found it, or until a time.

        Args:
            name: the name, with its engine.
            deadline: the time, on trio's clock.
            is_gone: tells whether the client is gone.
        """
        awaited = self._names.setdefault(name, _Awaited(trio.current_time()))
        turn = trio.Event()
        awaited.queue[turn] = None
        try:
            while not is_gone() and (now := trio.current_time()) < deadline and not awaited.came.is_set():
                is_next = awaited.is_next(turn)
                if is_next and now >= awaited.next_at:
                    awaited.next_at = now + PAUSE_S
                    return
                with trio.move_on_at(min(awaited.next_at if is_next else deadline, deadline, now + _LOOK_S)):
                    await (awaited.came if is_next else turn).wait()
        finally:
            awaited.leave(turn)
            if not awaited.queue and self._names.get(name) is awaited:
                del self._names[name]

    def found(self, name: str) -> None:
        """Let all requests that wait for a name ask now: a container has it."""
        awaited = self._names.pop(name, None)
        if awaited is not None:
            awaited.came.set()
            for turn in awaited.queue:
                turn.set()
