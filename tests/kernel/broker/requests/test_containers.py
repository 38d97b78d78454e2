"""Requests for containers by name: decided first, then asked for, and served in the namespace that the engine proves.

The engine is a fake one, whose containers are named namespaces of the test.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from nsbroker import (
    AccessDeniedError,
    BrokerProtocolError,
    BrokerUnavailableError,
    Client,
    NamespaceNotFoundError,
    SocketSpec,
)
from nsbroker.wire import (
    DENIED,
    NO_SUCH_NAMESPACE,
    OVERLOADED,
    BlobReply,
    ErrorReply,
    ExplainRequest,
    NamespacesRequest,
    OpenReply,
    decode_explanation,
    decode_namespaces,
)
from nsbroker.wire import ResolverRequest as Resolve
from support import namespaces
from support.brokers.process import BrokerProcess
from support.brokers.raw_client import TCP, RawClient, connect_as, netns_of, tcp
from support.engines.fake import FakeEngine, container, fake_engine, no_such_container
from support.namespaces import PREFIX
from support.users import OTHER_USER, USER

BLUE, WEB, DB = (f"{PREFIX}{label}" for label in ("blue", "web", "db"))

GRANTS = f"""
[[grant]]
name = "containers"
users = [{USER}, 0]
namespaces = ["podman:web*", "!podman:web-mgmt", "docker:*", "podman:later", "{BLUE}"]
sockets = ["tcp"]

[[grant]]
name = "all plain names"
users = ["*"]
namespaces = ["*", "@host", "@own"]
sockets = ["tcp", "udp"]
"""


class Setting:
    """A broker with two engines. Docker's socket does not exist."""

    def __init__(self, broker: BrokerProcess, engine: FakeEngine, settings: str) -> None:
        self.broker = broker
        self.engine = engine
        self.settings = settings

    def client(self) -> Client:
        return Client(str(self.broker.socket_path))


def put(engine: FakeEngine, name: str, namespace: str, **changes: object) -> None:
    engine.add(container(name, key=f"/run/netns/{namespace}", **changes))


@pytest.fixture(scope="module")
def spaces() -> Iterator[None]:
    if reason := namespaces.why_not():
        pytest.skip(reason)
    for name in (BLUE, WEB, DB):
        namespaces.make(name)
    yield
    for name in (BLUE, WEB, DB):
        namespaces.delete(name)


@pytest.fixture
def setting(spaces: None, tmp_path: Path) -> Iterator[Setting]:
    settings = f'[engines]\npodman = "{tmp_path}/podman.sock"\ndocker = "{tmp_path}/docker.sock"\n'
    broker = BrokerProcess(GRANTS, settings)
    try:
        with fake_engine(tmp_path / "podman.sock") as engine:
            put(engine, "web", WEB)
            put(engine, "web-db", DB)
            broker.start()
            yield Setting(broker, engine, settings)
    finally:
        broker.close()


def cookie_of(namespace: str, setting: Setting) -> int:
    """Return the cookie of a named namespace."""
    with RawClient(setting.broker) as client:
        return netns_of(client.ask(tcp(namespace)))[0]


def test_socket_is_in_the_container_of_the_name(setting: Setting) -> None:
    with connect_as(USER, setting.broker) as client:
        assert netns_of(client.ask(tcp("podman:web"))) == [cookie_of(WEB, setting)]
    [record] = [one for one in setting.broker.audit() if one.get("container")]
    assert (record["namespace"], record["grant"], record["netns"]) == (
        "podman:web", "containers", cookie_of(WEB, setting)
    )  # fmt: skip
    assert record["container"] == container()["Id"]


def test_request_can_mix_containers_and_other_namespaces(setting: Setting) -> None:
    names = ("podman:web", BLUE, "podman:web-db", "@host", "podman:web")
    with RawClient(setting.broker) as client:
        found = netns_of(client.ask(tcp(*names)))
    expected = [cookie_of(name, setting) for name in (WEB, BLUE, DB, "@host", WEB)]
    assert found == expected
    assert len(setting.engine.targets) == 2


def test_each_request_asks_the_engine(setting: Setting) -> None:
    """No answer and no plan is remembered in its place: the name means another namespace at once."""
    with RawClient(setting.broker) as client:
        for number in range(3):
            put(setting.engine, "web", (WEB, DB, WEB)[number])
            found = netns_of(client.ask(tcp("podman:web", request_id=number)))
            assert found == [cookie_of((WEB, DB, WEB)[number], setting)]
    assert len(setting.engine.targets) == 3


def test_engine_is_not_asked_without_a_grant(setting: Setting) -> None:
    """So a user learns nothing about containers that it has no grant for."""
    with connect_as(OTHER_USER, setting.broker) as client:
        refusals = [client.refusal(tcp(name)) for name in ("podman:web", "podman:nowhere")]
        assert {one.code for one in refusals} == {DENIED}
        assert client.refusal(Resolve(1, "podman:web")).code == DENIED
    with connect_as(USER, setting.broker) as client:
        refusal = client.refusal(tcp("podman:web-mgmt"))
        assert refusal.code == DENIED
        assert "covers namespace 'podman:web-mgmt'" in refusal.message
        assert client.refusal(tcp(BLUE, "podman:secret")).spec_index == 1
    explained = setting.client().explain(SocketSpec("podman:web-mgmt", *TCP))
    assert explained.reason is not None
    assert explained.exists
    assert setting.engine.targets == []


@pytest.mark.parametrize(
    "name", ["podman:", "podman:a/b", "podman:../web", "podman:-x", f"podman:{'x' * 300}", "podman:@own"]
)
def test_name_that_no_container_can_have_is_refused_unasked(setting: Setting, name: str) -> None:
    with RawClient(setting.broker) as client:
        refusal = client.refusal(tcp(BLUE, name))
    assert (refusal.code, refusal.spec_index) == (NO_SUCH_NAMESPACE, 1)
    assert "no container can have this name" in refusal.message
    assert setting.engine.targets == []


def test_entry_of_run_netns_with_the_name_of_a_container_means_nothing(setting: Setting) -> None:
    """Neither by its name nor by its descriptor, and a wait does not find it."""
    entry = "podman:websites"
    namespaces.make(entry)
    try:
        with RawClient(setting.broker) as client:
            assert client.refusal(tcp(entry)).code == NO_SUCH_NAMESPACE
            assert client.refusal(tcp(entry, wait_s=0.3)).code == NO_SUCH_NAMESPACE
            fd = os.open(f"/run/netns/{entry}", os.O_RDONLY)
            try:
                refusal = client.refusal(tcp(0), [fd])
            finally:
                os.close(fd)
            assert refusal.code == DENIED
        assert entry not in [name for name, _ in setting.client().namespaces().namespaces]
    finally:
        namespaces.delete(entry)


def test_missing_container_is_refused_with_the_reason(setting: Setting) -> None:
    put(setting.engine, "web-gone", WEB, Running=False)
    client = setting.client()
    with pytest.raises(NamespaceNotFoundError, match="web-x"):
        client.open([SocketSpec("podman:web-x", *TCP)])
    with pytest.raises(NamespaceNotFoundError, match="web-gone does not run"):
        client.open([SocketSpec("podman:web-gone", *TCP)])


def test_engine_that_is_dead_is_never_a_missing_container(setting: Setting) -> None:
    client = setting.client()
    with pytest.raises(BrokerUnavailableError, match="docker") as caught:
        client.open([SocketSpec(BLUE, *TCP), SocketSpec("docker:web", *TCP)])
    assert caught.value.index == 1
    with pytest.raises(BrokerUnavailableError, match="docker"):
        client.resolver_files("docker:web")
    with pytest.raises(BrokerUnavailableError, match="docker"):
        client.explain(SocketSpec("docker:web", *TCP))


def test_engine_that_hangs_harms_its_own_names_alone(setting: Setting) -> None:
    setting.engine.hang()
    with RawClient(setting.broker) as waiting, RawClient(setting.broker) as other:
        began = time.monotonic()
        for number in range(10):
            waiting.send(tcp(f"podman:web{number}", request_id=number))
        for _ in range(20):
            assert other.works(BLUE)
        assert time.monotonic() - began < 1
        replies = [waiting.receive() for _ in range(10)]
        assert all(isinstance(reply, ErrorReply) and reply.code == OVERLOADED for reply in replies)
        assert time.monotonic() - began < 3


def test_questions_of_one_user_are_bounded(setting: Setting) -> None:
    setting.engine.hang()
    with connect_as(USER, setting.broker) as client, RawClient(setting.broker) as other:
        for number in range(100):
            client.send(tcp("podman:web", request_id=number))
        refused = [client.receive() for _ in range(4)]
        assert all(isinstance(one, ErrorReply) and "in progress already" in one.message for one in refused)
        other.send(tcp("podman:web"))
        reply = other.receive()
        assert isinstance(reply, ErrorReply)
        assert "in progress" not in reply.message


def test_request_names_few_containers(setting: Setting) -> None:
    with pytest.raises(BrokerProtocolError, match="17 containers in one request; name at most 16 in each"):
        setting.client().open([SocketSpec(f"podman:web{number}", *TCP) for number in range(17)])
    assert setting.engine.targets == []


def test_request_waits_for_a_container(setting: Setting) -> None:
    """And asks at a bounded pace."""
    with RawClient(setting.broker) as client, RawClient(setting.broker) as second:
        began = time.monotonic()
        client.send(tcp("podman:later", BLUE, wait_s=30))
        second.send(tcp("podman:later", wait_s=30))
        while len(setting.engine.targets) < 6:
            time.sleep(0.01)
        assert len(setting.engine.targets) <= 4 + 4 * (time.monotonic() - began)
        put(setting.engine, "later", WEB)
        expected = [cookie_of(name, setting) for name in (WEB, BLUE)]
        assert netns_of(client.receive()) == expected
        assert netns_of(second.receive()) == expected[:1]
        assert time.monotonic() - began < 25


def test_wait_for_a_container_ends_with_its_time(setting: Setting) -> None:
    with RawClient(setting.broker) as client:
        refusal = client.refusal(tcp("podman:later", wait_s=0.6))
    assert refusal.code == NO_SUCH_NAMESPACE


def test_requests_that_wait_for_containers_are_bounded(setting: Setting) -> None:
    with RawClient(setting.broker) as client:
        for number in range(3):
            client.send(tcp("podman:later", request_id=number, wait_s=30))
        reply = client.receive()
        assert isinstance(reply, ErrorReply)
        assert (reply.code, "in progress already" in reply.message) == (OVERLOADED, True)


def test_requests_for_containers_that_wait_for_an_entry_are_bounded(setting: Setting) -> None:
    """They do not keep the place of a question meanwhile."""
    with RawClient(setting.broker) as client:
        for number in range(3):
            client.send(tcp(f"{PREFIX}nowhere", "podman:web", request_id=number, wait_s=20))
        began = time.monotonic()
        reply = client.receive()
        assert time.monotonic() - began < 10
        assert isinstance(reply, ErrorReply)
        assert (reply.code, "in progress already" in reply.message) == (OVERLOADED, True)


def test_request_does_not_wait_for_a_container_that_can_not_come(setting: Setting) -> None:
    """Also if it names an entry of /run/netns, which a request can wait for."""
    put(setting.engine, "web-host", WEB, mode="host")
    with RawClient(setting.broker) as client:
        began = time.monotonic()
        assert client.refusal(tcp(BLUE, "podman:web-host", wait_s=20)).spec_index == 1
        assert time.monotonic() - began < 10


def test_request_that_waits_is_refused_once_a_reload_denies_it(setting: Setting) -> None:
    with RawClient(setting.broker) as client:
        client.send(tcp("podman:later", wait_s=30))
        while not setting.engine.targets:
            time.sleep(0.01)
        setting.broker.configure(GRANTS.replace('"podman:later", ', ""), setting.settings)
        setting.broker.reload()
        reply = client.receive()
        assert isinstance(reply, ErrorReply)
        assert reply.code == DENIED


@pytest.mark.parametrize("kind", ["no-such-container", "unavailable"])
@pytest.mark.parametrize("operation", ["open", "resolver", "explain"])
def test_client_that_a_reload_denies_learns_nothing_from_a_late_answer(
    setting: Setting, operation: str, kind: str
) -> None:
    spec = SocketSpec("podman:later", *TCP)
    requests = {"open": tcp("podman:later"), "resolver": Resolve(1, "podman:later"), "explain": ExplainRequest(1, spec)}
    released = threading.Event()

    def answer(target: str, connection: socket.socket) -> None:
        released.wait()
        if kind == "no-such-container":
            no_such_container(target, connection)

    setting.engine.answer = answer
    with RawClient(setting.broker) as client:
        client.send(requests[operation])
        while not setting.engine.targets:
            time.sleep(0.01)
        setting.broker.configure(GRANTS.replace('"podman:later", ', ""), setting.settings)
        setting.broker.reload()
        released.set()
        reply = client.receive()
        if operation == "explain":
            assert isinstance(reply, BlobReply)
            explanation = decode_explanation(os.pread(client.fds[0], reply.size, 0))
            assert (explanation.by, explanation.exists) == (None, True)
        else:
            assert isinstance(reply, ErrorReply)
            assert reply.code == DENIED


def test_reload_switches_engines_on_and_off(setting: Setting) -> None:
    """A name that was a container's never leads to an entry of /run/netns by a remembered plan, nor the other way."""
    plain = "docker:web"
    namespaces.make(plain)
    try:
        with RawClient(setting.broker) as client:
            assert client.refusal(tcp(plain)).code == OVERLOADED
            without = GRANTS.replace('"docker:*", ', "")
            setting.broker.configure(without, "\n".join(setting.settings.splitlines()[:2]))
            setting.broker.reload()
            found = [netns_of(client.ask(tcp(plain, request_id=number))) for number in range(3)]
            assert found == [[cookie_of(plain, setting)]] * 3
            setting.broker.configure(GRANTS, setting.settings)
            setting.broker.reload()
            assert client.refusal(tcp(plain)).code == OVERLOADED
    finally:
        namespaces.delete(plain)


def test_list_has_the_containers_that_run_and_the_engines_that_do_not_answer(setting: Setting) -> None:
    containers = [{"Id": "0" * 64, "Names": [f"/{name}"]} for name in ("web", "web-mgmt", "secret")]
    setting.engine.answer = partial(_list, json.dumps(containers).encode())
    answer = setting.client().namespaces()
    names = [name for name, _ in answer.namespaces]
    assert [name for name in names if name.startswith("podman:")] == ["podman:web"]
    assert list(answer.engines) == ["docker"]
    with RawClient(setting.broker) as client:
        # A client of the previous release does not know of faults of engines.
        reply = client.ask(NamespacesRequest(1))
        assert isinstance(reply, BlobReply)
        assert decode_namespaces(os.pread(client.fds[0], reply.size, 0)).engines == {}
    with connect_as(OTHER_USER, setting.broker) as other:
        asked = len(setting.engine.targets)
        reply = other.ask(NamespacesRequest(1, engines=True))
        assert isinstance(reply, BlobReply)
        listed = decode_namespaces(os.pread(other.fds[0], reply.size, 0))
        assert not [name for name, _ in listed.namespaces if ":" in name]
        assert listed.engines == {}
        assert len(setting.engine.targets) == asked


def _list(body: bytes, _target: str, connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def test_look_ups_use_the_files_of_the_container(setting: Setting, tmp_path: Path) -> None:
    id_ = str(container()["Id"])
    own = tmp_path / id_
    own.mkdir()
    (own / "resolv.conf").write_text("nameserver 10.9.9.9\n")
    put(setting.engine, "web", WEB, resolv_conf=str(own / "resolv.conf"), hosts=str(own / "hosts"))
    files = setting.client().resolver_files("podman:web")
    assert files.resolv_conf == "nameserver 10.9.9.9\n"
    assert files.origin == "podman:web:/etc/resolv.conf"
    assert files.hosts == Path("/etc/hosts").read_text()
    [record] = [one for one in setting.broker.audit() if one["audit"] == "resolver"]
    assert (record["namespace"], record["container"]) == ("podman:web", id_)


def test_explain_says_whether_the_container_runs(setting: Setting) -> None:
    explained = setting.client().explain(SocketSpec("podman:web", *TCP))
    assert (explained.reason, explained.exists) == (None, True)
    explained = setting.client().explain(SocketSpec("podman:web-x", *TCP))
    assert (explained.reason, explained.exists) == (None, False)
    put(setting.engine, "web-host", "x", mode="host")
    with pytest.raises(NamespaceNotFoundError, match="@host"):
        setting.client().explain(SocketSpec("podman:web-host", *TCP))


def test_container_is_never_the_own_or_the_host_namespace(setting: Setting) -> None:
    """A grant for @host or @own does not cover a container."""
    with connect_as(OTHER_USER, setting.broker) as client:
        assert client.refusal(tcp("podman:web")).code == DENIED
    with pytest.raises(AccessDeniedError):
        Client(str(setting.broker.socket_path)).open([SocketSpec("podman:secret", *TCP)])


def test_descriptors_of_containers_are_closed(setting: Setting) -> None:
    with RawClient(setting.broker) as client:
        assert isinstance(client.ask(tcp("podman:web")), OpenReply)
        client.close_fds()
        before = setting.broker.descriptors()
        for number in range(50):
            client.ask(tcp("podman:web", "podman:web-db", request_id=number))
            client.close_fds()
            client.refusal(tcp("podman:web", "podman:web-x"))
            client.ask(Resolve(1, "podman:web"))
            client.close_fds()
        assert setting.broker.descriptors() <= before + 2


def test_sockets_are_not_revoked_by_the_name_of_a_container(setting: Setting) -> None:
    command = [sys.executable, "-P", "-m", "nsbrokerd", "revoke", "--config", str(setting.broker.config_path)]
    done = subprocess.run([*command, "--namespace", "podman:web"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "give the cookie of its namespace, which the audit has as netns" in done.stderr


def test_administrator_explains_a_container_by_the_policy_alone(setting: Setting) -> None:
    def explain(name: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "nsbrokerd", "explain", "--config", str(setting.broker.config_path)]
        return subprocess.run([*command, "--user", str(USER), name, "tcp"], capture_output=True, text=True, check=False)

    assert explain("podman:web").stdout.splitlines()[1] == "by grant 'containers'"
    assert "covers namespace 'podman:db'" in explain("podman:db").stdout
    assert "no container can have this name" in explain("podman:").stderr
    assert setting.engine.targets == []


def test_status_has_the_numbers_of_each_engine(setting: Setting) -> None:
    client = setting.client()
    for name in ("podman:web", "docker:web"):
        with suppress(BrokerUnavailableError):
            client.open([SocketSpec(name, *TCP)])[0].close()
    command = [sys.executable, "-P", "-m", "nsbrokerd", "status", "--json", "--config", str(setting.broker.config_path)]
    status = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    podman, docker = status["engines"]
    assert podman == {"engine": "podman", "asked": 1, "failed": 0, "fault": None}
    assert (docker["asked"], docker["failed"]) == (1, 1)
    assert docker["fault"]
