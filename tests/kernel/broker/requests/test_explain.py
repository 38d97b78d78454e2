"""The operation `explain`: it agrees with `open`, says what is missing, and reveals only the user's own grants."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator

import msgpack
import pytest

from nsbroker import AccessDeniedError, Client, Error, NamespaceNotFoundError, SocketSpec
from nsbroker.wire import BAD_REQUEST, OVERLOADED, BlobReply, Explanation, decode_explanation, encode_request
from nsbroker.wire import ExplainRequest as Ask
from support import namespaces
from support.brokers.process import BrokerProcess, running
from support.brokers.raw_client import TCP, UDP, RawClient, connect_as
from support.namespaces import PREFIX
from support.resident import CLONE_NEWNET, CLONE_NEWUSER, move_into_new
from support.users import GROUP, OTHER_USER, UIDS, USER, as_user

STRANGER = UIDS[2]
"""A user without any grant."""

BLUE, SECRET, LATER, RED = (f"{PREFIX}{label}" for label in ("blue", "secret", "later", "red"))

GRANTS = f"""
[[grant]]
name = "web"
users = [{USER}]
namespaces = ["{BLUE}", "{LATER}", "@host"]
sockets = ["tcp", "unix"]
bind = ["127.0.0.1:80"]
options = ["mark=0x10"]

[[grant]]
name = "limited"
users = [{USER}]
namespaces = ["{BLUE}", "@own"]
sockets = ["tcp", "udp"]
limit = {{ connect = ["10.0.0.0/8:443"], bind = ["*:5000-6000", "127.0.0.1:81"] }}

[[grant]]
name = "not for all"
users = [{OTHER_USER}]
namespaces = ["{BLUE}", "{SECRET}"]
sockets = ["udp", "raw:icmp"]
"""

V6 = (int(socket.AF_INET6), int(socket.SOCK_STREAM))
RAW_ICMP = (int(socket.AF_INET), int(socket.SOCK_RAW), 1)


@pytest.fixture(scope="module")
def broker() -> Iterator[BrokerProcess]:
    if reason := namespaces.why_not():
        pytest.skip(reason)
    with running(GRANTS) as broker:
        yield broker


@pytest.fixture
def blue(make_namespace: Callable[..., str]) -> str:
    return make_namespace("blue")


def explain(broker: BrokerProcess, uid: int, spec: SocketSpec, connect: tuple[str, int] | None = None) -> Explanation:
    """Ask as this user, with the library."""
    answer: Explanation = as_user(uid, uid, _explain, str(broker.socket_path), spec, connect, groups=(GROUP,))
    return answer


def _explain(path: str, spec: SocketSpec, connect: tuple[str, int] | None) -> Explanation:
    with Client(path) as client:
        return client.explain(spec, connect)


def _explain_or_fail(path: str, spec: SocketSpec) -> str:
    try:
        return repr(_explain(path, spec, None))
    except Error as error:
        return f"{type(error).__name__}: {error.strerror}"


def lacks(answer: Explanation) -> dict[str, list[tuple[str, str]]]:
    return {grant.name: list(lacks) for grant, lacks in zip(answer.grants, answer.lacks, strict=True)}


def _both(path: str, specs: list[SocketSpec]) -> list[tuple[SocketSpec, Explanation | str, str | None]]:
    """Explain and open each of the specs. Of `open`, return the refusal."""
    found: list[tuple[SocketSpec, Explanation | str, str | None]] = []
    with Client(path) as client:
        for spec in specs:
            try:
                answer: Explanation | str = client.explain(spec)
            except Error as error:
                answer = str(error.strerror)
            try:
                for sock in client.open([spec]):
                    sock.close()
                refusal = None
            except (AccessDeniedError, NamespaceNotFoundError) as error:
                refusal = str(error.strerror)
            found.append((spec, answer, refusal))
    return found


@pytest.mark.parametrize("uid", [USER, OTHER_USER, STRANGER, 0])
def test_explanation_says_yes_if_and_only_if_open_succeeds(broker: BrokerProcess, blue: str, uid: int) -> None:
    """Over a grid of sockets, for the same user and the same broker. A refusal is explained by the same words."""
    names = [blue, LATER, SECRET, "@host", "@own", "..", "/proc/self/ns/net", f"/run/netns/{blue}"]
    shapes = [
        *((TCP, {"bind": ("127.0.0.1", port)}) for port in (0, 80, 81, 5000, 7000)),
        (TCP, {"bind": ("127.0.0.1", 80), "listen": 5}),
        (TCP, {}),
        (TCP, {"options": ((1, 36, 16),)}),
        (TCP, {"options": ((1, 36, 17),)}),
        (TCP, {"options": ((1, 1, 1),)}),
        (TCP, {"options": ((1, 2, 1),), "bind": ("127.0.0.1", 81)}),
        (V6, {"bind": ("::1", 80, 0, 0)}),
        (V6, {"bind": ("::1", 0, 0, 0)}),
        (UDP, {"bind": ("127.0.0.1", 5000)}),
        (UDP, {}),
        ((*RAW_ICMP[:2], 254), {}),
        (RAW_ICMP, {}),
        ((int(socket.AF_UNIX), 1), {}),
        ((45, 1), {}),
    ]
    specs = [
        SocketSpec(name, *shape)._replace(**fields)  # type: ignore[arg-type]  # fields of a spec
        for name in names
        for shape, fields in shapes
    ]
    found = as_user(uid, uid, _both, str(broker.socket_path), specs, groups=(GROUP,))
    assert len(found) == len(specs)
    allowed = 0
    for spec, answer, refusal in found:
        if isinstance(answer, str):
            assert answer == refusal, spec
        elif answer.exists:
            assert answer.reason == refusal, spec
        else:
            assert (answer.reason is None) == (refusal == f"there is no network namespace {spec.namespace!r}"), spec
        allowed += refusal is None
    assert allowed == 0 if uid in (STRANGER, 0) else allowed > 3


def test_each_missing_rule_is_named(broker: BrokerProcess, blue: str) -> None:
    """The kind, an address to bind, an option and an address to connect to."""
    assert lacks(explain(broker, USER, SocketSpec(blue, *RAW_ICMP))) == {
        "web": [("sockets", "raw:icmp")],
        "limited": [("sockets", "raw:icmp")],
    }
    bound = SocketSpec(blue, *TCP, bind=("0.0.0.0", 443), options=((1, 36, 17),))
    answer = explain(broker, USER, bound, ("10.0.0.1", 80))
    assert answer.reason == "grant 'web' does not allow option mark=0x11"
    assert answer.by is None
    assert lacks(answer) == {
        "web": [("options", "mark=0x11"), ("bind", "0.0.0.0:443")],
        "limited": [("options", "mark=0x11"), ("limit.bind", "0.0.0.0:443"), ("limit.connect", "10.0.0.1:80")],
    }


def test_limit_denies_the_connection_and_not_the_socket(broker: BrokerProcess, blue: str) -> None:
    answer = explain(broker, USER, SocketSpec(blue, *UDP), ("10.0.0.1", 444))
    assert answer.reason == "port 444 of 10.0.0.1 is not in limit.connect of grant 'limited'"
    assert answer.by is not None
    assert answer.grants[answer.by].name == "limited"
    assert explain(broker, USER, SocketSpec(blue, *UDP), ("10.0.0.1", 443)).reason is None


def test_user_without_a_grant_learns_nothing(broker: BrokerProcess, make_namespace: Callable[..., str]) -> None:
    """The answer is the same for a namespace that exists, one that does not, and one of another user's grants."""
    make_namespace("secret")
    for uid in (STRANGER, USER):
        answers = [explain(broker, uid, SocketSpec(name, *TCP)) for name in (SECRET, RED)]
        reasons = [str(answer.reason).replace(SECRET, RED) for answer in answers]
        assert reasons[0] == reasons[1]
        assert [answer._replace(reason="") for answer in answers] == [Explanation("", None, False, True, (), ())] * 2
    by_path = f"/run/netns/{SECRET}"
    assert explain(broker, USER, SocketSpec(by_path, *TCP)).grants == ()


def test_grants_of_other_users_are_not_shown(broker: BrokerProcess, blue: str) -> None:
    """Each user sees the own grants for the namespace, as the operation `namespaces` shows them."""
    for uid, expected in ((USER, ["web", "limited"]), (OTHER_USER, ["not for all"])):
        answer = explain(broker, uid, SocketSpec(blue, *UDP))
        assert [grant.name for grant in answer.grants] == expected
        listed = as_user(uid, uid, _grants, str(broker.socket_path), groups=(GROUP,))
        assert set(answer.grants) <= set(listed)


def _grants(path: str) -> tuple[object, ...]:
    with Client(path) as client:
        return client.namespaces().grants


def test_granted_namespace_that_does_not_exist(broker: BrokerProcess, make_namespace: Callable[..., str]) -> None:
    """The answer says so, also if the socket is denied. A name without a mount is no namespace yet."""
    for spec, is_allowed in ((SocketSpec(LATER, *TCP), True), (SocketSpec(LATER, *UDP), False)):
        answer = explain(broker, USER, spec)
        assert (answer.reason is None, answer.exists) == (is_allowed, False)
    make_namespace("later")
    assert explain(broker, USER, SocketSpec(LATER, *TCP)).exists


def test_impossible_name_is_refused_as_by_open(broker: BrokerProcess) -> None:
    for name in ("@own", "..", "a\0b"):
        told = as_user(USER, USER, _explain_or_fail, str(broker.socket_path), SocketSpec(name, *TCP), groups=(GROUP,))
        assert told == (
            "NamespaceNotFoundError: no namespace can have this name: use the name of an entry of /run/netns"
        )


def _explain_own(path: str) -> list[Explanation]:
    move_into_new(CLONE_NEWUSER | CLONE_NEWNET)
    with Client(path) as client, open("/proc/self/ns/net") as file:
        specs = (SocketSpec("/proc/self/ns/net", *UDP), SocketSpec(file.fileno(), *RAW_ICMP))
        return [client.explain(spec) for spec in specs]


def test_own_namespace_is_explained_by_its_descriptor(broker: BrokerProcess) -> None:
    """A path is opened with the user's rights. Here it belongs to a user namespace of the user's own."""
    try:
        allowed, denied = as_user(USER, USER, _explain_own, str(broker.socket_path), groups=(GROUP,))
    except OSError as error:
        pytest.skip(f"users can't have namespaces of their own here: {error}")
    assert (allowed.reason, allowed.exists, lacks(allowed)) == (None, True, {"limited": []})
    assert lacks(denied) == {"limited": [("sockets", "raw:icmp")]}


def test_no_socket_is_made_and_no_namespace_is_entered(broker: BrokerProcess, blue: str) -> None:
    """The port stays free: the broker neither binds nor listens, for any number of questions."""
    spec = SocketSpec(blue, *TCP, bind=("127.0.0.1", 80), listen=5)
    for _ in range(3):
        answer = explain(broker, USER, spec)
        assert (answer.reason, answer.binds_as_root) == (None, True)
    [(_, _, refusal)] = as_user(USER, USER, _both, str(broker.socket_path), [spec], groups=(GROUP,))
    assert refusal is None


def test_each_question_is_in_the_audit(broker: BrokerProcess, blue: str) -> None:
    explain(broker, USER, SocketSpec(blue, *UDP, bind=("127.0.0.1", 5000)), ("10.0.0.1", 444))
    record = broker.audit()[-1]
    assert (record["audit"], record["outcome"], record["uid"]) == ("explain", "allowed", USER)
    assert (record["namespace"], record["grant"]) == (blue, "limited")
    assert record["socket"] == {"family": 2, "type": 2, "proto": 0, "bind": ["127.0.0.1", 5000]}
    assert record["connect"] == ["10.0.0.1", 444]
    assert record["reason"] == "port 444 of 10.0.0.1 is not in limit.connect of grant 'limited'"


def test_hostile_requests_are_refused_and_the_connection_goes_on(broker: BrokerProcess, blue: str) -> None:
    spec = {"ns": blue, "family": 2, "type": 1}
    head = {"v": 1, "id": 7, "op": "explain"}
    hostile = [
        head,
        {**head, "socket": [spec]},
        {**head, "socket": spec, "sockets": [spec]},
        {**head, "socket": {**spec, "grants": []}},
        {**head, "socket": spec, "connect": ["10.0.0.1", 80, 0, 0]},
        {**head, "socket": spec, "connect": ["example.org", 80]},
        {**head, "socket": {**spec, "family": 1}, "connect": b"name"},
        {**head, "socket": {**spec, "options": [[1, 36, 16]] * 33}},
        {**head, "socket": {**spec, "ns": "n" * 1021}},
        {**head, "socket": {**spec, "ns": {"fd": 0}}},
        {**head, "socket": {**spec, "family": 1, "listen": 5}},
    ]
    with connect_as(USER, broker) as client:
        for message in hostile:
            refusal = client.refusal(msgpack.packb(message))
            assert (refusal.code, refusal.request_id) == (BAD_REQUEST, 7), message
        assert client.works("@host")
    with connect_as(USER, broker) as client:
        refusal = client.refusal(msgpack.packb({**head, "socket": spec, "pad": "n" * 70000}))
        assert (refusal.code, refusal.request_id) == (BAD_REQUEST, None)
    with connect_as(USER, broker) as client, open("/dev/null") as file:
        refusal = client.refusal(msgpack.packb({**head, "socket": {**spec, "ns": {"fd": 0}}}), [file.fileno()])
        assert refusal.code == "no-such-namespace"


def test_largest_request_is_answered(broker: BrokerProcess, blue: str) -> None:
    """All options that a spec can have, each with the longest value."""
    options = tuple((1, 25, b"e" * 15) for _ in range(32))
    answer = explain(broker, USER, SocketSpec(blue, *TCP, options=options))
    assert lacks(answer)["web"] == [("options", "bind_device=" + "e" * 15)] * 32


def test_questions_count_against_the_quota_of_requests(start_broker: Callable[..., BrokerProcess]) -> None:
    broker = start_broker(GRANTS, "[quotas]\nrequests_per_second = 5\n")
    packet = encode_request(Ask(1, SocketSpec("@host", *TCP)))
    with connect_as(USER, broker) as client:
        replies = [client.ask(packet) for _ in range(50)]
        client.close_fds()
    assert isinstance(replies[0], BlobReply)
    assert getattr(replies[-1], "code", None) == OVERLOADED


def test_answer_comes_as_a_sealed_blob(broker: BrokerProcess) -> None:
    with RawClient(broker) as client:
        reply = client.ask(Ask(3, SocketSpec("@host", *TCP)))
        assert isinstance(reply, BlobReply)
        [fd] = client.fds
        answer = decode_explanation(os.pread(fd, reply.size, 0))
        assert answer.reason == "no grant covers uid 0 or its groups"
