"""The time and the number of questions: an engine that hangs harms requests for its own names, for a bounded time."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from nsbrokerd.namespaces.engines import EngineError, Engines
from nsbrokerd.namespaces.engines.engines import ANSWER_S, MAX_QUESTIONS
from nsbrokerd.namespaces.engines.unix_socket import connect
from nsbrokerd.namespaces.file_identity import Identity
from nsbrokerd.policy.engine_names import EngineName
from support.engines.fake import FakeEngine, http
from support.waiting import wait_until

WEB = EngineName("podman", "web")


async def refusal(engines: Engines, name: EngineName = WEB) -> EngineError:
    with pytest.raises(EngineError) as caught:
        await engines.find(name)
    return caught.value


@pytest.mark.parametrize(
    "begin", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n["]
)
async def test_engine_that_hangs_is_unavailable_after_a_second(
    begin: bytes, fake: FakeEngine, engines: Engines, autojump_clock: MockClock
) -> None:
    fake.hang(begin)
    began = trio.current_time()
    error = await refusal(engines)
    assert error.kind == "unavailable"
    assert str(error) == f"podman does not answer within 1 s at {fake.path}: see whether its service works"
    assert trio.current_time() == began + ANSWER_S


async def test_all_questions_for_one_name_have_one_second(
    fake: FakeEngine, engines: Engines, autojump_clock: MockClock
) -> None:
    """Those about the owners of its network, too."""
    fake.hang()
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(refusal, engines)
    assert trio.current_time() == began + ANSWER_S


async def test_full_queue_of_connections_is_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(tmp_path / "full"))
        listener.listen(0)
        first.connect(str(tmp_path / "full"))
        async with trio.open_nursery() as nursery:

            async def connect_later() -> None:
                async with await connect(tmp_path / "full"):
                    pass

            nursery.start_soon(connect_later)
            await trio.testing.wait_all_tasks_blocked()
            listener.accept()[0].close()


async def test_full_queue_of_connections_makes_the_engine_unavailable(
    home: Identity, tmp_path: Path, autojump_clock: MockClock
) -> None:
    path = tmp_path / "full"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(path))
        listener.listen(0)
        first.connect(str(path))
        assert (await refusal(Engines({"podman": path}, home))).kind == "unavailable"


async def test_absent_engine_is_unavailable(home: Identity, tmp_path: Path) -> None:
    path = tmp_path / "absent"
    error = await refusal(Engines({"podman": path}, home))
    assert error.kind == "unavailable"
    why = "its socket does not exist: start its service, or correct [engines]"
    assert str(error) == f"podman is unavailable at {path}: {why}"


async def test_socket_without_a_server_is_an_engine_that_is_unavailable(home: Identity, tmp_path: Path) -> None:
    path = tmp_path / "dead"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    error = await refusal(Engines({"podman": path}, home))
    assert str(error) == f"podman is unavailable at {path}: no process listens at its socket: start its service"


async def test_file_that_is_no_socket_is_no_engine(home: Identity, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert (await refusal(Engines({"podman": tmp_path / "file"}, home))).kind == "unavailable"
    assert (await refusal(Engines({"podman": tmp_path / ("x" * 200)}, home))).kind == "unavailable"


async def test_word_that_is_switched_off_is_unavailable(engines: Engines) -> None:
    error = await refusal(engines, EngineName("docker", "web"))
    assert error.kind == "unavailable"
    assert str(error) == "docker is not switched on: add it to [engines] of nsbrokerd.toml"


@pytest.mark.parametrize("name", ["", "..", "web/json", "web?all=1", "a" * 300, "docker:web", "web\r\nX: y", "wéb"])
async def test_engine_is_not_asked_for_a_name_that_is_not_legal(name: str, fake: FakeEngine, engines: Engines) -> None:
    error = await refusal(engines, EngineName("podman", name))
    assert error.kind == "no-such-container"
    assert "no container can have this name" in str(error)
    assert fake.targets == []


async def test_one_engine_that_hangs_does_not_delay_another(
    fake: FakeEngine, home: Identity, tmp_path: Path, autojump_clock: MockClock
) -> None:
    fake.hang()
    engines = Engines({"podman": fake.path, "docker": tmp_path / "absent"}, home)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(2 * MAX_QUESTIONS):
            nursery.start_soon(refusal, engines, EngineName("podman", f"web{number}"))
        await trio.testing.wait_all_tasks_blocked()
        assert (await refusal(engines, EngineName("docker", "web"))).kind == "unavailable"
        assert trio.current_time() == began


async def test_few_questions_are_asked_at_once(fake: FakeEngine, engines: Engines, autojump_clock: MockClock) -> None:
    fake.hang()
    async with trio.open_nursery() as nursery:
        for number in range(2 * MAX_QUESTIONS):
            nursery.start_soon(refusal, engines, EngineName("podman", f"web{number}"))
    wait_until(lambda: len(fake.targets) >= MAX_QUESTIONS)
    assert len(fake.targets) == MAX_QUESTIONS


async def test_cancelled_request_closes_its_connection(fake: FakeEngine, engines: Engines) -> None:
    fake.hang()
    before = len(os.listdir("/proc/self/fd"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(engines.find, WEB)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    fake.ended.set()
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before)


async def test_list_and_check_have_the_same_bounds(
    fake: FakeEngine, engines: Engines, autojump_clock: MockClock
) -> None:
    fake.hang()
    for ask in (engines.running, engines.check):
        with pytest.raises(EngineError, match="podman does not answer within 1 s"):
            await ask("podman")


async def test_list_comes_from_the_engine(fake: FakeEngine, engines: Engines) -> None:
    fake.say(http(b'[{"Names": ["/web"]}]'))
    assert await engines.running("podman") == ["web"]


def test_broker_without_engines_loads_no_http() -> None:
    code = "import sys, nsbrokerd.namespaces.engines as e; e.Engines({}, (0, 0)); print('h11' in sys.modules)"
    done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
