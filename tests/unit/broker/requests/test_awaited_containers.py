"""Requests that wait for a container ask for it at a bounded pace, however many they are."""

from __future__ import annotations

from itertools import pairwise

import trio
import trio.testing

from nsbrokerd.requests.awaited_containers import PAUSE_S, AwaitedContainers


def run(test: object) -> None:
    trio.run(test, clock=trio.testing.MockClock(autojump_threshold=0))  # type: ignore[arg-type]  # a coroutine function


def test_all_requests_together_ask_four_times_a_second() -> None:
    async def wait() -> None:
        awaited = AwaitedContainers()
        times: list[float] = []
        begin = trio.current_time()

        async def ask_again() -> None:
            while trio.current_time() < begin + 10:
                await awaited.wait("podman:web", begin + 20, lambda: False)
                times.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(ask_again)
        pauses = [later - earlier for earlier, later in pairwise(times)]
        assert min(pauses) >= PAUSE_S - 1e-6
        assert max(pauses) <= PAUSE_S + 1e-6
        assert not awaited._names

    run(wait)


def test_request_that_finds_the_container_wakes_all() -> None:
    async def wait() -> None:
        awaited = AwaitedContainers()
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(awaited.wait, "podman:web", began + 60, lambda: False)
            nursery.start_soon(awaited.wait, "podman:db", began + 1, lambda: False)
            await trio.sleep(0.1)
            awaited.found("podman:web")
            awaited.found("podman:unknown")
        assert trio.current_time() - began <= PAUSE_S + 1e-6
        assert not awaited._names

    run(wait)


def test_wait_ends_with_its_time_or_its_client() -> None:
    async def wait() -> None:
        awaited = AwaitedContainers()
        began = trio.current_time()
        await awaited.wait("podman:web", began + 0.1, lambda: False)
        assert trio.current_time() - began <= 0.1 + 1e-6
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(awaited.wait, "podman:web", began + 60, lambda: trio.current_time() > began + 2)
        assert trio.current_time() - began <= 4

    run(wait)


def test_clients_that_hang_up_do_not_delay_others() -> None:
    async def wait() -> None:
        awaited = AwaitedContainers()
        began = trio.current_time()
        is_gone = False
        async with trio.open_nursery() as nursery:
            for _ in range(1000):
                nursery.start_soon(awaited.wait, "podman:web", began + 60, lambda: is_gone)
            await trio.testing.wait_all_tasks_blocked()
            is_gone = True
            await awaited.wait("podman:web", began + 60, lambda: False)
            assert trio.current_time() - began <= 1.5

    run(wait)
