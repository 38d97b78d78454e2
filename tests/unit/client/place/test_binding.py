"""Addresses to bind to: which errors are waited out, how often the broker is asked, and names in them."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsbroker import AccessDeniedError, SocketSpec
from nsbroker.drivers.thread import run
from nsbroker.place import binding
from nsbroker.place.binding import open_sockets
from nsbroker.place.listening import listen_tcp
from nsbroker.place.place import Place
from nsbroker.wire.messages import ResolverFiles

V4, V6, STREAM = int(socket.AF_INET), int(socket.AF_INET6), int(socket.SOCK_STREAM)
HOSTS = "127.0.0.5 web\n127.0.0.6 web\n127.0.0.7 other\n::5 six\n"
LISTENER = SocketSpec("blue", V4, STREAM, bind=("192.0.2.1", 80), listen=1)


class Answers:
    """In place of a `Broker`: raises these errors one after the other, and then opens the sockets."""

    def __init__(self, *errors: OSError) -> None:
        self.errors = list(errors)
        self.asked: list[tuple[Sequence[SocketSpec], float]] = []
        self.files_of: list[object] = []

    async def open(
        self, take_fd: Callable[[SocketSpec, int], Any], specs: Sequence[SocketSpec], wait_s: float
    ) -> list[Any]:
        self.asked.append((specs, wait_s))
        if self.errors:
            raise self.errors.pop(0)
        return [socket.socket(spec.family, spec.type, spec.proto) for spec in specs]

    async def read_resolver_files(self, namespace: object) -> ResolverFiles:
        self.files_of.append(namespace)
        return ResolverFiles("", HOSTS, "", {"nsswitch.conf": "hosts: files\n"})

    def opened(self, specs: Sequence[SocketSpec], wait_s: float = 0) -> int:
        """Open sockets, close them, and return their number."""
        sockets: list[socket.socket] = run(open_sockets(self, None, specs, wait_s))  # type: ignore[arg-type]  # a fake
        for sock in sockets:
            sock.close()
        return len(sockets)


@pytest.mark.parametrize("address", [(), ("::1%eth0",), (b"::1%eth0", 80), ("::1%eth0", 80, 0, 0, 0), "::1%eth0"])
def test_address_of_another_shape_is_the_brokers_to_refuse(address: Any) -> None:
    spec = SocketSpec("blue", V6, STREAM, bind=address)
    answers = Answers()
    assert answers.opened([spec]) == 1
    assert answers.asked == [([spec], 0)]


def missing(number: int = errno.EADDRNOTAVAIL) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, none of which takes time."""
    made: list[float] = []
    monkeypatch.setattr(binding, "monotonic", lambda: sum(made))

    async def wait(deadline: float, sockets: object) -> tuple[()]:
        made.append(deadline - sum(made))
        return ()

    monkeypatch.setattr(binding, "wait", wait)
    return made


def test_broker_is_asked_again_ever_more_rarely(pauses: list[float]) -> None:
    broker = Answers(*(missing() for _ in range(8)))
    assert broker.opened([LISTENER], 60) == 1
    assert pauses == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1, 1, 1])
    assert [wait_s for _, wait_s in broker.asked] == pytest.approx(
        [60, 59.95, 59.85, 59.65, 59.25, 58.45, 57.45, 56.45, 55.45]
    )


def test_wait_has_an_end(pauses: list[float]) -> None:
    broker = Answers(*(missing() for _ in range(99)))
    with pytest.raises(OSError, match="Cannot assign"):
        broker.opened([LISTENER], 2)
    assert sum(pauses) == pytest.approx(2)
    assert broker.asked[-1][1] == 0


@pytest.mark.parametrize(
    ("specs", "error", "wait_s"),
    [
        ([LISTENER], missing(), 0),
        ([LISTENER], missing(errno.EADDRINUSE), 60),
        ([LISTENER], AccessDeniedError(errno.EACCES, "no"), 60),
        ([LISTENER._replace(bind=None)], missing(), 60),
    ],
)
def test_other_failures_are_not_waited_out(
    specs: list[SocketSpec], error: OSError, wait_s: float, pauses: list[float]
) -> None:
    """Nor any without a time to wait, or of a socket that is not bound."""
    with pytest.raises(type(error)):
        Answers(error).opened(specs, wait_s)
    assert pauses == []


def test_one_of_several_addresses_is_not_waited_for(pauses: list[float]) -> None:
    """It may be of a family that the namespace lacks for good."""
    gone = missing()
    gone.index = 1  # type: ignore[attr-defined]  # as `Error.index`
    place = Place(Answers(gone, missing(), missing()), "blue", 30)  # type: ignore[arg-type]  # a fake
    [listener] = run(listen_tcp(place, ["127.0.0.1", "::1"], 0))
    listener.close()
    assert len(pauses) == 2


def test_interface_is_looked_up_once_for_each_namespace() -> None:
    """By a socket of the same kind there. Here, all of them are in our own namespace."""
    named = SocketSpec("blue", V6, STREAM, bind=("fe80::1%lo", 80, 0, 0), also=(("fe80::2%lo", 80, 0, 0),))
    broker = Answers()
    assert broker.opened([named, named, named._replace(namespace="red"), LISTENER]) == 4
    *questions, (specs, _) = broker.asked
    assert [spec for (spec,), _ in questions] == [SocketSpec(name, V6, STREAM) for name in ("blue", "red")]
    index = socket.if_nametoindex("lo")
    numbered = named._replace(bind=("fe80::1", 80, 0, index), also=(("fe80::2", 80, 0, index),))
    assert list(specs) == [numbered, numbered, numbered._replace(namespace="red"), LISTENER]


def test_unknown_interface_has_the_position_of_its_socket() -> None:
    with pytest.raises(OSError, match="No such device") as caught:
        Answers().opened([LISTENER, SocketSpec("blue", V6, STREAM, bind=("fe80::1%nosuch0", 80, 0, 0))])
    assert (caught.value.errno, getattr(caught.value, "index", None)) == (errno.ENODEV, 1)


def test_host_is_looked_up_in_its_namespace() -> None:
    """The first address of the socket's family counts. Each name is looked up once for each namespace."""
    web = LISTENER._replace(bind=("web", 80))
    sctp = web._replace(proto=132, bind=("other", 7), also=(("web", 7),))
    six = SocketSpec("blue", V6, STREAM, bind=("six", 80, 1, 0), listen=1)
    broker = Answers()
    assert broker.opened([web, web, web._replace(namespace="red"), LISTENER, six]) == 5
    assert run(binding._numeric(broker, [sctp], 0)) == [  # type: ignore[arg-type]  # a fake
        sctp._replace(bind=("127.0.0.7", 7), also=(("127.0.0.5", 7),))
    ]
    assert broker.files_of == ["blue", "red", "blue"]
    numeric = web._replace(bind=("127.0.0.5", 80))
    expected = [numeric, numeric, numeric._replace(namespace="red"), LISTENER, six._replace(bind=("::5", 80, 1, 0))]
    assert list(broker.asked[-1][0]) == expected


def test_host_that_is_not_found_has_the_index_of_its_socket() -> None:
    with pytest.raises(socket.gaierror) as caught:
        Answers().opened([LISTENER, LISTENER._replace(bind=("six", 80)), LISTENER])
    assert caught.value.index == 1  # type: ignore[attr-defined]  # as `Error.index`


def test_namespace_of_a_host_is_waited_for() -> None:
    """The broker waits for it in a request for a socket only."""
    broker = Answers()
    broker.opened([LISTENER._replace(bind=("web", 80))], 7)
    assert [(spec, wait_s) for (spec,), wait_s in broker.asked[:1]] == [
        (SocketSpec("blue", V4, STREAM | socket.SOCK_NONBLOCK), 7)
    ]


SPECS = [
    SocketSpec("blue", family, STREAM, bind=bind, also=also)
    for family, bind, also in (
        (V4, ("127.0.0.1", 80), ()),
        (V4, ("127.0.0.1", 81), ()),
        (V4, ("127.0.0.1", 80), (("web", 80),)),
        (V4, ("web", 80), ()),
        (V6, ("::1", 80, 0, 0), ()),
        (V6, ("::1", 80), ()),
        (V6, ("::1%eth0", 80, 0, 0), ()),
        (V6, ("::1%eth0",), ()),
        (V6, (), ()),
        (int(socket.AF_UNIX), b"web", ()),
        (V4, None, ()),
    )
]


@given(st.lists(st.sampled_from(SPECS)))
def test_batch_has_names_if_one_of_its_sockets_has(specs: list[SocketSpec]) -> None:
    """Whichever came before."""
    assert binding._have_names(specs) is any(map(binding._has_names, specs))
