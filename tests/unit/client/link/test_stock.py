"""A socket comes from stock only while this can be exact, in lots that are no larger than the use."""

from __future__ import annotations

import errno
import os
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from nsbroker import SocketSpec
from nsbroker.drivers.thread import run
from nsbroker.link import lots, stock
from nsbroker.link.broker import Broker, plain_socket
from nsbroker.link.errors import BrokerProtocolError, BrokerUnavailableError
from nsbroker.link.mounts import OwnMount
from nsbroker.link.stock import Stock
from nsbroker.wire import EnteredNamespace, OpenedSocket, OpenReply
from support.inside import socket_cookie
from support.waiting import wait_until

INET, STREAM, NONBLOCK = int(socket.AF_INET), int(socket.SOCK_STREAM), int(socket.SOCK_NONBLOCK)
BLUE = SocketSpec("blue", INET, STREAM)
GROUP = 7
SIZE = 4


class FakeBroker:
    """Makes sockets of this process, and notes how many it is asked for: 1 for a fresh one."""

    is_unknown_key = staticmethod(Broker.is_unknown_key)

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.asked: list[int] = []
        self.peer_group: int | None = GROUP
        self.failure: OSError | None = None
        self.before_reply: Callable[[], object] = lambda: None
        self.made: list[int] = []

    async def open(self, take_fd: Any, specs: Any, wait_s: float) -> list[Any]:
        self.asked.append(1)
        [spec] = specs
        return [take_fd(spec, socket.socket(spec.family, spec.type, spec.proto).detach())]

    async def open_lot(self, spec: SocketSpec, count: int) -> tuple[list[socket.SocketType], OpenReply]:
        self.asked.append(count)
        if self.failure is not None:
            raise self.failure
        made = [socket.SocketType(spec.family, spec.type) for _ in range(count)]
        self.made = [sock.fileno() for sock in made]
        status = os.lstat(self.directory / str(spec.namespace))
        entered = EnteredNamespace(4097, status.st_dev, status.st_ino)
        opened = tuple(OpenedSocket(socket_cookie(sock)) for sock in made)
        self.before_reply()
        return made, OpenReply(1, (entered,), opened, self.peer_group)


class Clock:
    """Stands still, far in the future, so that the thread closes nothing."""

    def __init__(self) -> None:
        self.now = monotonic() + 100_000

    def __call__(self) -> float:
        return self.now


class Shop:
    """A stock, and how it is used."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.clock = clock
        self.said: list[str] = []
        self.directory = directory
        self.broker = FakeBroker(directory)
        self.stock = Stock(self.said.append, directory=str(directory))

    def take(self, spec: SocketSpec = BLUE, size: int = SIZE) -> socket.socket:
        [sock] = run(self.stock.open(self.broker, plain_socket, spec, 0, size))  # type: ignore[arg-type]  # a fake
        return sock

    def use(self, count: int, spec: SocketSpec = BLUE, size: int = SIZE) -> list[int]:
        """Take and close some sockets, and return the requests for them."""
        before = len(self.broker.asked)
        for _ in range(count):
            self.take(spec, size).close()
        return self.broker.asked[before:]

    def fill(self) -> list[int]:
        """Have some sockets in stock, and return their descriptors."""
        self.use(4)
        self.take().close()
        in_stock = [fd for fd in self.broker.made if is_open(fd)]
        assert in_stock
        return in_stock


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """A shop whose name `blue` can be proven."""
    monkeypatch.setattr(OwnMount, "groups", lambda _: (GROUP, 0))
    clock = Clock()
    monkeypatch.setattr(stock, "monotonic", clock)
    (tmp_path / "blue").touch()
    made = Shop(tmp_path, clock)
    yield made
    made.stock.close()


def test_lot_is_no_larger_than_the_use_and_the_size(shop: Shop) -> None:
    """The first sockets are fresh. A program that uses few never has many."""
    assert shop.use(40) == [1, 1, 2, 4, *[SIZE] * 8]


def test_lot_is_no_larger_than_the_use_of_the_last_second(shop: Shop) -> None:
    shop.use(20)
    shop.clock.now += 1.01
    assert shop.use(3) == [1, 1, 2]


def test_name_that_means_another_namespace_is_never_served_from_stock(shop: Shop) -> None:
    shop.fill()
    (shop.directory / "red").touch()
    (shop.directory / "red").rename(shop.directory / "blue")
    assert shop.use(1) == [1]
    assert not any(map(is_open, shop.broker.made))


def test_name_that_is_gone_is_never_served_from_stock(shop: Shop) -> None:
    shop.fill()
    (shop.directory / "blue").unlink()
    assert shop.use(3) == [1, 1, 1]
    assert not any(map(is_open, shop.broker.made))


def test_symbolic_link_is_never_served_from_stock(shop: Shop) -> None:
    """Its target may lie below a mount that the broker does not share."""
    shop.fill()
    (shop.directory / "blue").rename(shop.directory / "red")
    (shop.directory / "blue").symlink_to("red")
    assert shop.use(1) == [1]


def test_old_sockets_are_not_used(shop: Shop) -> None:
    """Less than a second after the request. Then they are closed."""
    shop.fill()
    shop.clock.now += stock.USED_FOR_S
    shop.broker.failure = OSError(errno.EMFILE, "no room")
    assert shop.use(1) == [SIZE, 1]
    assert not any(map(is_open, shop.broker.made))
    assert stock.USED_FOR_S + lots._PAUSE_S < 1


def test_unused_sockets_are_closed_in_time(shop: Shop) -> None:
    """Without any further call."""
    shop.clock.now = monotonic()
    in_stock = shop.fill()
    wait_until(lambda: not any(map(is_open, in_stock)))
    wait_until(lambda: not lots._lots)


def test_thread_that_closes_ends(shop: Shop) -> None:
    shop.fill()
    assert lots._may_start == []
    shop.stock.close()
    wait_until(lambda: lots._may_start == [None])
    shop.fill()
    assert lots._may_start == []


@pytest.mark.parametrize("call", ["getpid", "geteuid", "getegid"])
def test_another_owner_takes_no_stock_along(shop: Shop, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    in_stock = shop.fill()
    monkeypatch.setattr(stock, call, lambda: 12345)
    shop.broker.failure = OSError(errno.EMFILE, "no room")
    assert shop.use(1)[-1] == 1
    assert not any(map(is_open, in_stock))


def test_change_of_the_owner_during_the_request_leaves_no_stock(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.broker.before_reply = lambda: monkeypatch.setattr(stock, "geteuid", lambda: 12345)
    assert shop.use(3) == [1, 1, 2]
    assert not any(map(is_open, shop.broker.made))


def test_another_thread_takes_no_stock_along(shop: Shop) -> None:
    shop.fill()
    asked: list[int] = []
    thread = threading.Thread(target=lambda: asked.extend(shop.use(1)))
    thread.start()
    thread.join()
    assert asked == [1]


def test_threads_that_are_alike_share_a_stock(tmp_path: Path, shop: Shop) -> None:
    shop.stock = Stock(shop.said.append, for_all_threads=True, directory=str(tmp_path))
    shop.fill()
    asked: list[int] = []
    thread = threading.Thread(target=lambda: asked.extend(shop.use(1)))
    thread.start()
    thread.join()
    assert asked == []


def test_fork_takes_no_stock_along(shop: Shop) -> None:
    """The child's copies are closed, and those of the parent are not."""
    in_stock = shop.fill()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork with a thread, in Python 3.12 and newer
        pid = os.fork()
    if pid == 0:
        left = sum(map(is_open, in_stock))
        os._exit(left + 10 * (shop.use(1) == []))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert shop.use(1) == []


def test_closed_stock_is_empty(shop: Shop) -> None:
    """Also that of other threads. It can be used again."""
    in_stock = shop.fill()
    others: list[int] = []
    thread = threading.Thread(target=lambda: others.extend(shop.fill()))
    thread.start()
    thread.join()
    shop.stock.close()
    assert not any(map(is_open, in_stock + others))
    assert shop.use(1)[0] > 1


def test_lot_that_arrives_after_the_close_is_closed(shop: Shop) -> None:
    shop.use(4)
    shop.broker.before_reply = shop.stock.close
    assert shop.use(1) == [SIZE]
    assert not any(map(is_open, shop.broker.made))


def test_descriptor_that_means_another_file_is_neither_used_nor_closed(shop: Shop) -> None:
    """A program may close all descriptors, as a daemon does, and open other files."""
    in_stock = shop.fill()
    sockets = [socket.socket() for _ in in_stock]
    for fd, sock in zip(in_stock, sockets, strict=True):
        os.dup2(sock.fileno(), fd)
    with shop.take() as taken:
        assert taken.fileno() not in in_stock
    shop.stock.close()
    assert all(map(is_open, in_stock))
    for fd in in_stock:
        os.close(fd)
    for sock in sockets:
        sock.close()


@pytest.mark.parametrize("default", [None, 5])
@pytest.mark.parametrize("flag", [0, NONBLOCK])
def test_socket_from_stock_blocks_as_a_fresh_one(shop: Shop, default: float | None, flag: int) -> None:
    """By the program's default timeout at the time of the call."""
    spec = BLUE._replace(type=STREAM | flag)
    socket.setdefaulttimeout(5 if default is None else None)
    try:
        shop.use(4, spec)
        socket.setdefaulttimeout(default)
        with shop.take(spec) as sock, plain_socket(spec, socket.SocketType(INET, STREAM | flag).detach()) as fresh:
            assert shop.broker.asked[-1] > 1
            assert sock.gettimeout() == fresh.gettimeout()
            assert os.get_blocking(sock.fileno()) == os.get_blocking(fresh.fileno())
    finally:
        socket.setdefaulttimeout(None)


@pytest.mark.parametrize(
    "spec",
    [
        BLUE._replace(type=int(socket.SOCK_RAW), proto=1),
        BLUE._replace(type=int(socket.SOCK_DGRAM), proto=1),
        BLUE._replace(family=int(socket.AF_PACKET)),
        BLUE._replace(family=int(socket.AF_UNIX)),
        BLUE._replace(family=int(socket.AF_NETLINK), type=int(socket.SOCK_RAW)),
        BLUE._replace(bind=("0.0.0.0", 80)),
        BLUE._replace(listen=1),
        BLUE._replace(type=STREAM | int(socket.SOCK_CLOEXEC)),
    ],
)
def test_other_kinds_are_always_fresh(shop: Shop, spec: SocketSpec) -> None:
    assert shop.stock._new_shelf(spec) is None
    assert shop.said == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"namespace": "@host"}, "only a name in /run/netns"),
        ({"namespace": "@own"}, "only a name in /run/netns"),
        ({"namespace": "/proc/1/ns/net"}, "not a descriptor or a path"),
        ({"namespace": 5}, "not a descriptor or a path"),
        ({"namespace": "podman:web"}, "the engine of a container"),
        ({"namespace": "pod:default.web-0"}, "the engine of a container"),
        ({"namespace": ".."}, "it is no name"),
        ({"namespace": ""}, "it is no name"),
        ({"namespace": "a\0b"}, "it is no name"),
        ({"options": ((1, 36, 16),)}, "options that depend on a grant"),
        ({"options": ((0, 19, 1),)}, "options that depend on a grant"),
        ({"options": ((1, 25, b"eth0"),)}, "options that depend on a grant"),
    ],
)
def test_namespace_without_a_stock_says_so_once(shop: Shop, changes: dict[str, Any], reason: str) -> None:
    spec = BLUE._replace(**changes)
    assert shop.use(5, spec) == [1] * 5
    assert len(shop.said) == 1
    assert reason in shop.said[0]


def test_freebind_is_part_of_the_stock(shop: Shop) -> None:
    assert max(shop.use(8, BLUE._replace(options=((0, 15, 1),)))) > 1
    assert shop.said == []


def test_private_mount_has_no_stock_and_says_so_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OwnMount, "groups", lambda _: (0, 0))
    assert shop.use(5) == [1] * 5
    assert len(shop.said) == 1
    assert "is a private mount here" in shop.said[0]


@pytest.mark.parametrize("group", [None, 0, GROUP + 1])
def test_mount_of_another_group_has_no_stock_and_says_so_once(shop: Shop, group: int | None) -> None:
    """The broker's mount is private, or it gets other mounts than this one. The first lot finds out."""
    shop.broker.peer_group = group
    assert shop.use(8) == [1, 1, 2, 1, 1, 1, 1, 1]
    assert not any(map(is_open, shop.broker.made))
    assert len(shop.said) == 1
    assert "is not the broker's mount here" in shop.said[0]


def test_slave_of_the_brokers_mount_has_a_stock(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OwnMount, "groups", lambda _: (GROUP + 1, GROUP))
    assert shop.use(4) == [1, 1, 2]


def test_mounts_that_cant_be_seen_have_no_stock(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: OwnMount) -> None:
        raise PermissionError(errno.EACCES, "no way")

    monkeypatch.setattr(OwnMount, "groups", fail)
    assert shop.use(5) == [1] * 5
    assert len(shop.said) == 1
    assert "no way" in shop.said[0]


def test_old_broker_is_asked_once(shop: Shop) -> None:
    """It refuses the unknown key. All sockets are fresh then."""
    shop.broker.failure = BrokerProtocolError(errno.EPROTO, "bad-request: unknown key 'stock' in the request")
    assert shop.use(8) == [1, 1, 2, 1, 1, 1, 1, 1, 1]
    assert shop.said == ["no stock of sockets: this broker is too old for one"]


def test_other_errors_of_the_protocol_are_raised(shop: Shop) -> None:
    shop.use(2)
    shop.broker.failure = BrokerProtocolError(errno.EPROTO, "the broker sent nonsense")
    with pytest.raises(BrokerProtocolError, match="nonsense"):
        shop.take()


def test_lot_that_fails_is_replaced_by_a_fresh_socket(shop: Shop) -> None:
    """And the next sockets are fresh as well."""
    shop.broker.failure = OSError(errno.EMFILE, "no room for 4 sockets")
    assert shop.use(5) == [1, 1, 2, 1, 1, 2, 1]


@pytest.mark.parametrize("spec", [BLUE._replace(type=int(socket.SOCK_DGRAM)), BLUE._replace(listen=1)])
def test_stock_leaves_its_descriptors_to_a_fresh_socket(shop: Shop, spec: SocketSpec) -> None:
    """If the process has no room. Without a stock, it would have some."""
    in_stock = shop.fill()

    async def open_if_there_is_room(*args: Any) -> list[Any]:
        if any(map(is_open, in_stock)):
            raise OSError(errno.EMFILE, "no room")
        return await FakeBroker.open(shop.broker, *args)

    shop.broker.open = open_if_there_is_room  # type: ignore[method-assign]
    assert shop.use(1, spec) == [1]


def test_process_without_room_and_without_stock_is_told_so(shop: Shop) -> None:
    async def fail(*_: object) -> list[Any]:
        shop.broker.asked.append(1)
        raise OSError(errno.EMFILE, "no room")

    shop.broker.open = fail  # type: ignore[method-assign]
    with pytest.raises(OSError, match="no room"):
        shop.take()
    assert shop.broker.asked == [1]


def test_overloaded_broker_is_asked_for_one(shop: Shop) -> None:
    shop.broker.failure = BrokerUnavailableError(errno.EAGAIN, "overloaded")
    assert shop.use(3) == [1, 1, 2, 1]


def test_broker_that_is_away_is_not_asked_twice(shop: Shop) -> None:
    shop.use(2)
    shop.broker.failure = BrokerUnavailableError(errno.ETIMEDOUT, "no answer in 5 s")
    with pytest.raises(BrokerUnavailableError):
        shop.take()
    assert shop.broker.asked == [1, 1, 2]


def test_without_a_thread_nothing_is_kept(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    wait_until(lambda: lots._may_start == [None])
    monkeypatch.setattr(lots, "start_new_thread", fail)
    shop.use(4)
    assert not any(map(is_open, shop.broker.made))
    assert "no thread can be started" in shop.said[0]
    assert lots._may_start == [None]


def test_only_one_call_fills_a_shelf(shop: Shop) -> None:
    """A signal handler or another task that asks meanwhile gets a fresh socket."""
    shop.use(4)
    shop.broker.before_reply = lambda: shop.take().close()
    shop.use(1)
    assert shop.broker.asked == [1, 1, 2, 4, 1]


def test_only_one_call_fills_a_shelf_while_another_one_looks_at_the_mounts(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that are alike come in between there, because system calls let other threads run."""
    others = [lambda: shop.take().close()]

    def groups(_: OwnMount) -> tuple[int, int]:
        while others:
            others.pop()()
        return GROUP, 0

    shop.use(4)
    monkeypatch.setattr(OwnMount, "groups", groups)
    shop.use(1)
    assert shop.broker.asked == [1, 1, 2, 1, 4]


def test_many_names_do_not_pile_up(shop: Shop) -> None:
    for number in range(stock._MOST_SHELVES + 10):
        shop.take(BLUE._replace(namespace=f"name{number}")).close()
    assert len(shop.stock._at.shelves) <= stock._MOST_SHELVES


def test_without_a_function_a_warning_says_why(shop: Shop) -> None:
    shop.stock = Stock(directory=str(shop.directory))
    with pytest.warns(RuntimeWarning, match="no stock of sockets for '@host'"):
        shop.take(BLUE._replace(namespace="@host")).close()
