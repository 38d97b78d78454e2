"""Requests that wait for a namespace are woken when it is mounted."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from nsbrokerd.namespaces import awaited_names
from nsbrokerd.namespaces.awaited_names import AwaitedNames
from nsbrokerd.namespaces.netns import identity
from support.inside import path_of
from support.namespaces import PREFIX
from support.waiting import LIMIT_S


@pytest.mark.parametrize("names", [["late"], ["late", "late2", "late3"]])
def test_a_mount_wakes_the_watch(
    make_namespace: Callable[..., str], monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    """It does not have to look by itself, for whichever of the names it is."""
    monkeypatch.setattr(awaited_names, "LOOK_S", 10 * LIMIT_S)

    async def wait_for(awaited: AwaitedNames, name: str) -> None:
        await awaited.wait(f"{PREFIX}{name}", None, trio.current_time() + 10 * LIMIT_S, lambda: False)
        assert Path(path_of(f"{PREFIX}{name}")).exists()

    async def wait() -> None:
        awaited = AwaitedNames(identity)
        with trio.fail_after(LIMIT_S / 4):
            async with trio.open_nursery() as nursery:
                for name in names:
                    nursery.start_soon(wait_for, awaited, name)
                for name in reversed(names):
                    await trio.testing.wait_all_tasks_blocked(0.01)
                    await trio.to_thread.run_sync(make_namespace, name)

    trio.run(wait)


def test_a_namespace_that_came_just_before_is_noticed(
    make_namespace: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It causes no event any more, neither for the first request that waits nor for one beside it."""

    def no_descriptor_left() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(awaited_names, "LOOK_S", 10 * LIMIT_S)
    monkeypatch.setattr(awaited_names, "MountChanges", no_descriptor_left)
    name = make_namespace("late")

    async def wait() -> None:
        awaited = AwaitedNames(identity)
        deadline = trio.current_time() + 10 * LIMIT_S
        with trio.fail_after(LIMIT_S / 4):
            await awaited.wait(name, None, deadline, lambda: False)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(awaited.wait, f"{PREFIX}never", None, deadline, lambda: False)
                await trio.testing.wait_all_tasks_blocked(0.2)
                await awaited.wait(name, None, deadline, lambda: False)
                nursery.cancel_scope.cancel()

    trio.run(wait)
