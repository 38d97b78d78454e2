"""Wakes requests that wait for a namespace when it exists. One watch serves all of them.

A named namespace exists from the moment that it is mounted, so each mount wakes the watch. A symbolic link is no mount.
So the watch also looks by itself, four times a second. A look is one stat(2) for each awaited name.

Requests that can go on are woken one after the other. In between, everything else has a turn.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from .file_identity import Identity
from .mounts import MountChanges

LOOK_S = 0.25
"""The most time between two looks."""

_LEAST_PAUSE_S = 0.05
"""The least time between two looks. Users can cause mounts, for example by fusermount(1)."""


@dataclass(eq=False, slots=True)
class _Waiter:
    """A request that waits for a name. An identity that it has tried in vain does not count."""

    name: str
    tried: Identity | None
    deadline: float
    is_gone: Callable[[], bool]
    woken: trio.Event = field(default_factory=trio.Event)


class AwaitedNames:
    """The names that requests wait for, and their watch, which exists only while some request waits."""

    def __init__(self, find: Callable[[str], Identity | None]) -> None:
        """`find` returns the identity of the namespace that has a name now, or None."""
        self._find = find
        self._waiters: dict[_Waiter, None] = {}
        self._is_watched = False
        self._look_at = 0.0
        self._pause_scope = trio.CancelScope()

    async def wait(self, name: str, tried: Identity | None, deadline: float, is_gone: Callable[[], bool]) -> None:
        """Wait until there is a namespace of this name, or until a time, or until the client is gone.

        Args:
            name: the name, which must be a legal one.
            tried: the identity of a namespace of this name that does not count.
            deadline: the time, on trio's clock.
            is_gone: tells whether the client is gone.
        """
        waiter = _Waiter(name, tried, deadline, is_gone)
        self._waiters[waiter] = None
        if not self._is_watched:
            self._is_watched = True
            trio.lowlevel.spawn_system_task(self._watch)
        # A namespace that came just now will cause no event any more.
        is_there = self._find(name) not in (None, tried)
        self._look_at = min(self._look_at, 0.0 if is_there else deadline)
        self._pause_scope.deadline = min(self._pause_scope.deadline, self._look_at)
        try:
            await waiter.woken.wait()
        finally:
            del self._waiters[waiter]

    async def _watch(self) -> None:
        changes: MountChanges | None = None
        with contextlib.suppress(OSError):  # without a descriptor for it, look by time alone
            changes = MountChanges()
        try:
            while self._waiters:
                for waiter in self._look():
                    if waiter in self._waiters:
                        waiter.woken.set()
                        await trio.lowlevel.checkpoint()
                await trio.sleep(_LEAST_PAUSE_S)
                await self._pause(changes)
        finally:
            self._is_watched = False
            if changes is not None:
                changes.close()

    def _look(self) -> list[_Waiter]:
        """Return the requests that can go on, in the order in which they came, and set the time of the next look."""
        now = trio.current_time()
        found: dict[str, Identity | None] = {}
        ready = []
        self._look_at = now + LOOK_S
        for waiter in self._waiters:
            if now < waiter.deadline and not waiter.is_gone():
                if waiter.name not in found:
                    found[waiter.name] = self._find(waiter.name)
                if found[waiter.name] in (None, waiter.tried):
                    self._look_at = min(self._look_at, waiter.deadline)
                    continue
            ready.append(waiter)
        return ready

    async def _pause(self, changes: MountChanges | None) -> None:
        """Wait for a mount, or for the time of the next look."""
        # An earlier event must be taken here: the kernel reports it once, and trio may lose it while it begins to wait.
        if changes is not None and changes.happened():
            return
        with trio.CancelScope(deadline=self._look_at) as self._pause_scope:
            if changes is None:
                await trio.sleep_forever()
            else:
                await trio.lowlevel.wait_readable(changes.fd)
        if changes is not None:
            changes.happened()
