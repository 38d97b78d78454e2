"""The name of a container: the broker's, or the user's own, and the words of both when there is none."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nsbroker import (
    AccessDeniedError,
    BrokerUnavailableError,
    Client,
    Namespace,
    NamespaceNotFoundError,
    SocketSpec,
    wire,
)
from nsbroker.adapters.asyncio import AsyncClient
from support.brokers.fake import FakeBroker, Script, Visit, descriptors, memfd
from support.own_engine import FakeEngine as Engine
from support.own_engine import Process, answer_with, describe, fake_engine, process_of_container

DENIED = "no grant of uid 7 covers namespace 'podman:mine'"


def spec(namespace: str, kind: int = socket.SOCK_STREAM) -> SocketSpec:
    return SocketSpec(namespace, socket.AF_INET, kind)


TCP = spec("podman:mine")


def is_refused(namespace: wire.NamespaceRef) -> bool:
    return isinstance(namespace, str) and namespace.startswith(("podman:", "docker:", "pod:"))


def refuse_names(code: str = wire.DENIED, message: str = DENIED) -> Script:
    """Return the script of a broker that knows no container, and grants everything else."""

    def script(visit: Visit) -> None:
        request = visit.request
        refused = {
            wire.OpenRequest: lambda: [each.namespace for each in request.sockets],  # type: ignore[union-attr]  # by type
            wire.ResolverRequest: lambda: [request.namespace],  # type: ignore[union-attr]  # by type
            wire.ExplainRequest: lambda: [request.socket.namespace],  # type: ignore[union-attr]  # by type
        }.get(type(request), list)()
        for index, namespace in enumerate(refused):
            if is_refused(namespace):
                return visit.fail(code, index=index if isinstance(request, wire.OpenRequest) else None, message=message)
        return visit.grant()

    return script


@pytest.fixture
def process() -> Iterator[Process]:
    with process_of_container() as process:
        yield process


@pytest.fixture
def engine(tmp_path: Path, process: Process, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The user's own podman, with one container. There is no command podman."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "resolv.conf").write_text("nameserver 10.89.0.1\nsearch dns.podman\n")
    (tmp_path / "hosts").write_text("10.89.0.7 db\n")
    files = {"ResolvConfPath": str(tmp_path / "resolv.conf"), "HostsPath": str(tmp_path / "hosts")}
    with fake_engine(tmp_path, answer_with(describe(process.pid, **files))) as engine:
        yield engine


@pytest.fixture
def start() -> Iterator[Callable[[Script], FakeBroker]]:
    """Start brokers, which end with the test."""
    started: list[FakeBroker] = []

    def start(script: Script) -> FakeBroker:
        broker = FakeBroker(script)
        started.append(broker)
        broker.start()
        return broker

    yield start
    for broker in started:
        broker.close()


def lent(broker: FakeBroker) -> list[int]:
    """For each request, how many descriptors came with it."""
    return [int(line.split()[2]) for line in broker.seen()]


Start = Callable[[Script], FakeBroker]


@pytest.mark.parametrize("code", [wire.DENIED, wire.NO_SUCH_NAMESPACE, wire.OVERLOADED])
def test_own_container_is_lent_if_the_broker_says_no(start: Start, engine: Engine, process: Process, code: str) -> None:
    """A broker without engines denies the name, or has no entry of this name in /run/netns. An engine may be dead."""
    expected = process.network

    def script(visit: Visit) -> None:
        refuse_names(code)(visit) if not visit.fds else check(visit)

    def check(visit: Visit) -> None:
        status = os.fstat(visit.fds[0])
        visit.grant() if (status.st_dev, status.st_ino) == expected else visit.fail(wire.DENIED, message="another one")

    broker = start(script)
    before = descriptors(first=True)
    with Client(broker.path) as client:
        [sock] = client.open([TCP])
        assert type(sock) is socket.socket
        sock.close()
        assert lent(broker) == [0, 1]
    assert descriptors() == before


def test_each_request_asks_the_engine_and_only_the_first_asks_by_name(start: Start, engine: Engine) -> None:
    broker = start(refuse_names())
    with Client(broker.path) as client:
        for _ in range(3):
            client.open([TCP])[0].close()
    assert lent(broker) == [0, 1, 1, 1]
    assert len(engine.requests) == 3


def test_container_of_the_broker_comes_first(start: Start, engine: Engine) -> None:
    broker = start(lambda visit: visit.grant())
    with Client(broker.path) as client:
        client.open([TCP])[0].close()
        assert client.resolver_files("podman:mine").origin == "/resolv.conf"
    assert engine.requests == []


def test_own_container_never_takes_the_place_of_the_brokers(start: Start, engine: Engine) -> None:
    """A name that meant the broker's container goes on to mean it while that container is stopped."""

    def script(visit: Visit) -> None:
        visit.grant() if visit.number == 1 else refuse_names(wire.NO_SUCH_NAMESPACE, "it is stopped")(visit)

    broker = start(script)
    with Client(broker.path) as client:
        client.open([TCP])[0].close()
        with pytest.raises(NamespaceNotFoundError, match=r"^.Errno 2. it is stopped$"):
            client.open([TCP])
        with pytest.raises(NamespaceNotFoundError, match="it is stopped"):
            client.resolver_files("podman:mine")
        with pytest.raises(NamespaceNotFoundError, match="it is stopped"):
            client.explain(TCP)
    assert engine.requests == []


def test_container_of_the_broker_never_takes_the_place_of_an_own_one(start: Start, engine: Engine) -> None:
    def script(visit: Visit) -> None:
        refuse_names()(visit) if visit.number == 1 else visit.grant()

    broker = start(script)
    with Client(broker.path) as client:
        client.open([TCP])[0].close()
        engine.answer = answer_with({}, "404 Not Found")
        with pytest.raises(NamespaceNotFoundError) as caught:
            client.open([TCP])
    text = "podman:mine was your own container, and your own podman says: there is no container 'mine'"
    assert caught.value.strerror == text
    assert lent(broker) == [0, 1]


def test_error_says_what_both_sides_answered(start: Start, engine: Engine) -> None:
    engine.answer = answer_with({}, "404 Not Found")
    broker = start(refuse_names())
    with Client(broker.path) as client, pytest.raises(AccessDeniedError) as caught:
        client.open([spec("blue"), TCP])
    assert caught.value.strerror == f"the broker says: {DENIED}; your own podman says: there is no container 'mine'"
    assert caught.value.errno == errno.EACCES
    assert (caught.value.index, caught.value.spec) == (1, TCP)


def test_error_says_that_no_own_engine_can_be_asked(start: Start, engine: Engine) -> None:
    engine.close()
    broker = start(refuse_names(wire.NO_SUCH_NAMESPACE, "there is none"))
    with Client(broker.path) as client, pytest.raises(NamespaceNotFoundError) as caught:
        client.open([TCP])
    start_of_text = "the broker says: there is none; your own podman can't be asked: "
    assert str(caught.value.strerror).startswith(start_of_text)


def test_error_says_that_the_broker_refuses_the_own_container(start: Start, engine: Engine) -> None:
    def script(visit: Visit) -> None:
        visit.fail(wire.DENIED, index=0, message="no grant covers '@own'" if visit.fds else DENIED)

    broker = start(script)
    with Client(broker.path) as client, pytest.raises(AccessDeniedError) as caught:
        client.open([TCP])
    assert caught.value.strerror == (
        f"the broker says about podman:mine: {DENIED}; your own podman has such a container, and the broker says about "
        "it: no grant covers '@own': ask the administrator for a grant with namespaces = [\"@own\"]"
    )
    assert caught.value.spec == TCP


@pytest.mark.parametrize(
    ("code", "number", "index", "error"),
    [
        (wire.OS_ERROR, errno.EADDRINUSE, 0, OSError),
        (wire.OVERLOADED, None, None, BrokerUnavailableError),
        (wire.BAD_REQUEST, None, 0, OSError),
    ],
)
def test_other_failure_is_no_refusal(
    start: Start, engine: Engine, code: str, number: int | None, index: int | None, error: type[OSError]
) -> None:
    """For example, the port is taken in the broker's container, or the broker as a whole is overloaded."""
    broker = start(lambda visit: visit.fail(code, number, index))
    with Client(broker.path) as client, pytest.raises(error):
        client.open([TCP])
    assert engine.requests == []


@pytest.mark.parametrize("namespace", ["pod:default.web", "blue", "podman", "podmanx:mine", "Podman:mine"])
def test_other_name_is_never_an_own_container(start: Start, engine: Engine, namespace: str) -> None:
    """A pod belongs to the machine."""
    broker = start(lambda visit: visit.fail(wire.DENIED, index=0, message=DENIED))
    with Client(broker.path) as client:
        with pytest.raises(AccessDeniedError):
            client.open([spec(namespace)])
        with pytest.raises(AccessDeniedError):
            client.resolver_files(namespace)
    assert engine.requests == []


def test_batch_looks_each_container_up_once(start: Start, engine: Engine) -> None:
    broker = start(refuse_names())
    specs = [spec("blue"), TCP, spec("podman:mine", socket.SOCK_DGRAM), spec("@host")]
    with Client(broker.path) as client:
        sockets = client.open(specs)
        assert [sock.type for sock in sockets] == [each.type for each in specs]
        for sock in sockets:
            sock.close()
    assert len(engine.requests) == 1
    assert lent(broker) == [0, 1]


def test_wait_lasts_until_the_own_container_runs(start: Start, engine: Engine) -> None:
    well, count = engine.answer, [0]

    def answer(connection: socket.socket) -> None:
        count[0] += 1
        (well if count[0] == 3 else answer_with({}, "404 Not Found"))(connection)

    engine.answer = answer
    broker = start(refuse_names())
    with Client(broker.path) as client:
        client.open([TCP], wait=60)[0].close()
        assert count == [3]
        with pytest.raises(ValueError, match=r"wait is 0..60"):
            client.open([TCP], wait=61)


def test_wait_has_an_end(start: Start, engine: Engine) -> None:
    engine.answer = answer_with({}, "404 Not Found")
    broker = start(refuse_names())
    with Client(broker.path) as client, pytest.raises(AccessDeniedError, match="there is no container"):
        client.open([TCP], wait=0.1)
    assert len(engine.requests) > 1


def test_names_are_looked_up_by_the_files_of_the_own_container(start: Start, engine: Engine, tmp_path: Path) -> None:
    broker = start(refuse_names())
    with Client(broker.path) as client:
        files = client.resolver_files("podman:mine")
        assert files.resolv_conf == "nameserver 10.89.0.1\nsearch dns.podman\n"
        assert files.hosts == "10.89.0.7 db\n"
        assert files.origin == str(tmp_path / "resolv.conf")
        mine = Namespace("podman:mine", client=client)
        assert mine.getaddrinfo("db", 80, type=socket.SOCK_STREAM)[0][4] == ("10.89.0.7", 80)
    assert set(lent(broker)) == {0, 1}


def test_file_that_can_not_be_read_fails_the_look_up(start: Start, engine: Engine, tmp_path: Path) -> None:
    """No other file takes its place. Sockets are not concerned."""
    (tmp_path / "hosts").unlink()
    (tmp_path / "hosts").symlink_to("/etc/hosts")
    broker = start(refuse_names())
    with Client(broker.path) as client:
        mine = Namespace("podman:mine", client=client)
        with pytest.raises(OSError, match="hosts: it is a symbolic link"):
            mine.getaddrinfo("db", 80)
        mine.socket().close()


def test_container_without_files_has_empty_ones(start: Start, engine: Engine, process: Process) -> None:
    """The files of the system are those of another network."""
    engine.answer = answer_with(describe(process.pid))
    broker = start(refuse_names())
    with Client(broker.path) as client:
        files = client.resolver_files("podman:mine")
    assert (files.resolv_conf, files.hosts, files.origin) == ("", "", "podman:mine (it has none)")


def explaining(by_name: str | None, by_descriptor: str | None) -> Script:
    """Return the script of a broker whose explanations have these reasons."""

    def script(visit: Visit) -> None:
        reason = by_descriptor if visit.fds else by_name
        blob = wire.encode_explanation(
            wire.Explanation(reason, None if reason else 0, False, True, (wire.GrantSummary("own", ("tcp",)),), ((),))
        )
        visit.reply(wire.BlobReply(visit.request.request_id, len(blob)), [memfd(blob)])

    return script


@pytest.mark.parametrize(
    ("by_name", "by_descriptor", "reason", "asked"),
    [(None, "x", None, 0), ("no", None, None, 1), ("no", "not own", "not own", 1)],
)
def test_explanation_is_about_the_container_that_a_socket_would_be_in(
    start: Start, engine: Engine, by_name: str | None, by_descriptor: str | None, reason: str | None, asked: int
) -> None:
    with Client(start(explaining(by_name, by_descriptor)).path) as client:
        assert client.explain(TCP).reason == reason
    assert len(engine.requests) == asked


def test_explanation_of_the_broker_stands_without_an_own_container(start: Start, engine: Engine) -> None:
    engine.answer = answer_with({}, "404 Not Found")
    with Client(start(explaining("no", None)).path) as client:
        assert client.explain(TCP).reason == "no"
    text = "the broker says: none; your own podman says: there is no"
    broker = start(refuse_names(wire.NO_SUCH_NAMESPACE, "none"))
    with Client(broker.path) as client, pytest.raises(NamespaceNotFoundError, match=text):
        client.explain(TCP)


def test_tasks_of_an_event_loop_share_no_wait(start: Start, engine: Engine) -> None:
    """While the engine keeps one task waiting, another one gets its socket."""
    asked, goes_on, well = threading.Event(), threading.Event(), engine.answer

    def answer(connection: socket.socket) -> None:
        asked.set()
        if goes_on.wait(60):
            well(connection)

    engine.answer = answer
    broker = start(refuse_names())

    async def both() -> None:
        client = AsyncClient(broker.path, timeout=60)
        first = asyncio.create_task(client.open([TCP]))
        while not asked.is_set():
            await asyncio.sleep(0.001)
        for sock in await client.open([spec("blue")]):
            sock.close()
        goes_on.set()
        for sock in await first:
            sock.close()
        client.close()

    asyncio.run(both())


class Tool:
    """nsbroker-get, started as a process with this broker. It has no command podman."""

    def __init__(self, path: str) -> None:
        python_path = ":".join(entry for entry in sys.path if entry)
        self.environment = {**os.environ, "PYTHONPATH": python_path, "NSBROKER_SOCKET": path}

    def __call__(self, *args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "nsbroker.cli", *args]
        return subprocess.run(
            command, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True,
            timeout=60,
        )  # fmt: skip


def test_tool_resolves_by_the_own_containers_files(start: Start, engine: Engine) -> None:
    done = Tool(start(refuse_names()).path)("podman:mine", "resolve", "db")
    assert (done.stdout, done.stderr, done.returncode) == ("10.89.0.7\n", "", 0)


def test_tool_says_what_both_sides_answered(start: Start, engine: Engine) -> None:
    engine.answer = answer_with({}, "404 Not Found")
    done = Tool(start(refuse_names()).path)("podman:mine", "connect", "127.0.0.1", "80")
    assert done.stderr == (
        f"nsbroker-get: the broker says: {DENIED}; your own podman says: there is no container 'mine'"
        "; nsbroker-get podman:mine explain tcp shows what each grant lacks\n"
    )
    assert done.returncode == 1


@pytest.mark.parametrize("args", [("list", "podman:mine"), ("podman:mine", "explain", "tcp")])
def test_tool_shows_the_grant_of_the_own_container(start: Start, engine: Engine, args: tuple[str, ...]) -> None:
    broker = start(
        lambda visit: (explaining("no", None) if type(visit.request) is wire.ExplainRequest else Visit.grant)(visit)
    )
    done = Tool(broker.path)(*args)
    assert "podman:mine" in done.stdout
    assert "own" in done.stdout
    assert done.returncode == 0


def test_no_broker_means_no_container(tmp_path: Path, engine: Engine) -> None:
    with Client(str(tmp_path / "nowhere")) as client, pytest.raises(BrokerUnavailableError):
        client.open([TCP])
    assert engine.requests == []
