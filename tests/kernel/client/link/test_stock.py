"""Sockets in stock are in the namespace that has the name at the time of the call, and hold to the policy."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import socket
import subprocess
import warnings
from collections.abc import Callable
from typing import Any

import anyio
import pytest
import trio

import nsbroker
from nsbroker import Namespace, SocketSpec
from nsbroker.adapters import anyio as in_anyio
from nsbroker.adapters import asyncio as in_asyncio
from nsbroker.adapters import trio as in_trio
from nsbroker.link.lots import _lots
from support import namespaces
from support.brokers.limited import grant
from support.brokers.process import BrokerProcess
from support.inside import cookie_inside, netns_cookie, path_of
from support.releases import WHEELS, unpack
from support.users import USER, as_unprivileged, as_user, start_as_user
from support.waiting import wait_until

STOCK = 16
_CLONE_NEWNS = 0x00020000
_libc = ctypes.CDLL(None)
UDP = (socket.AF_INET, socket.SOCK_DGRAM)
MANY = 40


def lots(broker: BrokerProcess) -> list[int]:
    """The numbers of sockets of the requests for a stock."""
    return [len(record["sockets"]) for record in broker.audit() if record.get("stock")]


def open_many(namespace: Namespace, count: int = MANY) -> list[int]:
    """Open and close sockets, and return the cookies of their namespaces."""
    cookies = []
    for _ in range(count):
        with namespace.socket(*UDP) as sock:
            cookies.append(netns_cookie(sock))
    return cookies


def use_namespace(path: str, name: str) -> list[int]:
    return open_many(Namespace(name, path=path, stock=STOCK))


def use_client(path: str, name: str) -> list[int]:
    with nsbroker.Client(path, stock=STOCK) as client:
        return [_closed(client.open([SocketSpec(name, *UDP)])) for _ in range(MANY)]


def _closed(sockets: list[socket.socket]) -> int:
    [sock] = sockets
    with sock:
        return netns_cookie(sock)


async def _use(client: Any, name: str) -> list[int]:
    async with client:
        return [_closed(await client.open([SocketSpec(name, *UDP)])) for _ in range(MANY)]


def use_asyncio(path: str, name: str) -> list[int]:
    async def main() -> list[int]:
        return await _use(in_asyncio.AsyncClient(path, stock=STOCK), name)

    return asyncio.run(main())


def use_trio(path: str, name: str) -> list[int]:
    async def main() -> list[int]:
        return await _use(in_trio.AsyncClient(path, stock=STOCK), name)

    return trio.run(main)


def use_anyio(path: str, name: str) -> list[int]:
    async def main() -> list[int]:
        return await _use(in_anyio.AsyncClient(path, stock=STOCK), name)

    return anyio.run(main)


def use_adapter(path: str, name: str) -> list[int]:
    """Connect by the asyncio adapter, to a listener in the namespace."""
    namespace = Namespace(name, path=path, stock=STOCK)

    async def main(address: tuple[str, int]) -> list[int]:
        cookies = []
        for _ in range(MANY):
            _, writer = await in_asyncio.open_connection(namespace, *address)
            cookies.append(netns_cookie(writer.get_extra_info("socket")))
            writer.close()
            await writer.wait_closed()
        return cookies

    with namespace.create_server(("127.0.0.1", 0)) as server:
        return asyncio.run(main(server.getsockname()))


def use_connections(path: str, name: str) -> list[int]:
    namespace = Namespace(name, path=path, stock=STOCK)
    cookies = []
    with namespace.create_server(("127.0.0.1", 0), backlog=MANY) as server:
        for _ in range(MANY):
            with namespace.create_connection(server.getsockname()) as sock:
                cookies.append(netns_cookie(sock))
    return cookies


@pytest.mark.parametrize(
    "use", [use_namespace, use_client, use_connections, use_asyncio, use_trio, use_anyio, use_adapter]
)
def test_sockets_from_stock_are_in_the_namespace(
    broker: BrokerProcess, make_namespace: Callable[..., str], use: Callable[[str, str], list[int]]
) -> None:
    """Each way needs few requests, and the audit names those for a stock."""
    name = make_namespace()
    assert as_unprivileged(use, str(broker.socket_path), name) == [cookie_inside(name)] * MANY
    requests = [record for record in broker.audit() if record["audit"] == "open"]
    assert max(lots(broker)) > 1
    assert len(requests) < MANY
    assert all(record["namespace"] == name for record in requests)


def test_without_a_stock_each_socket_is_a_request(broker: BrokerProcess, make_namespace: Callable[..., str]) -> None:
    name = make_namespace()
    as_unprivileged(lambda: open_many(Namespace(name, path=str(broker.socket_path))))
    assert lots(broker) == []
    assert len(broker.audit()) == MANY


def test_deleted_namespace_is_never_served_from_stock(
    broker: BrokerProcess, make_namespace: Callable[..., str]
) -> None:
    """Nor is the former one, if the name has a new namespace."""
    name = make_namespace()
    blue = Namespace(name, path=str(broker.socket_path), stock=STOCK)
    open_many(blue)
    namespaces.delete(name)
    with pytest.raises(nsbroker.NamespaceNotFoundError):
        blue.socket(*UDP)
    namespaces.make(name)
    assert open_many(blue) == [cookie_inside(name)] * MANY
    namespaces.delete(name)
    namespaces.make(name)
    assert open_many(blue) == [cookie_inside(name)] * MANY
    assert max(lots(broker)) > 1


def test_closed_client_has_no_stock(broker: BrokerProcess, make_namespace: Callable[..., str]) -> None:
    """Its sockets are closed at once, and the next ones come from the broker."""
    name = make_namespace()
    client = nsbroker.Client(str(broker.socket_path))
    blue = Namespace(name, client=client, stock=STOCK)
    open_many(blue)
    client.close()
    assert not [lot for lot in _lots if lot.stock is client.broker.stock]
    requests = len(broker.audit())
    open_many(blue, 1)
    assert len(broker.audit()) == requests + 1


def test_stock_keeps_a_deleted_namespace_for_a_moment_only(
    broker: BrokerProcess, make_namespace: Callable[..., str]
) -> None:
    """The kernel removes the namespace, and its end of a pair of devices, when the stock is closed by itself."""
    name, far = make_namespace(), make_namespace()
    namespaces.ip("-n", far, "link", "add", "far", "type", "veth", "peer", "name", "near", "netns", name)
    blue = Namespace(name, path=str(broker.socket_path), stock=STOCK)
    open_many(blue)
    namespaces.delete(name)
    wait_until(lambda: "far" not in namespaces.ip("-n", far, "link"))


def _in_other_mounts(path: str, name: str, commands: list[list[str]]) -> tuple[list[int], list[str]]:
    """Open sockets after these changes of the mounts. Return the cookies, and the warnings."""
    _unshare()
    subprocess.run(SLAVE, check=True)  # The machine's mounts must not change.
    for command in commands:
        subprocess.run(command, check=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cookies = use_namespace(path, name)
    return cookies, [str(warning.message) for warning in caught]


def _unshare() -> None:
    assert _libc.unshare(_CLONE_NEWNS) == 0


PRIVATE = ["mount", "--make-rprivate", "/"]
SHARED = ["mount", "--make-rshared", "/"]
SLAVE = ["mount", "--make-rslave", "/"]


@pytest.mark.parametrize(
    ("commands", "reason"),
    [
        ([PRIVATE], "is a private mount here"),
        ([PRIVATE, SHARED], "is not the broker's mount here"),
        ([["mount", "--bind", "/run/netns", "/run/netns"], ["mount", "--make-private", "/run/netns"]], "private mount"),
    ],
)
def test_other_mounts_have_no_stock(
    broker: BrokerProcess, make_namespace: Callable[..., str], commands: list[list[str]], reason: str
) -> None:
    """Names there may be those of former namespaces."""
    name = make_namespace()
    cookies, said = as_user(0, 0, _in_other_mounts, str(broker.socket_path), name, commands)
    assert cookies == [cookie_inside(name)] * MANY
    assert len(said) == 1
    assert reason in said[0]
    assert len(lots(broker)) <= 1


def _stale(path: str, name: str, again: str) -> list[int]:
    """Open sockets behind private mounts, while the name gets a new namespace outside."""
    _unshare()
    subprocess.run(PRIVATE, check=True)
    subprocess.run(SHARED, check=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        blue = Namespace(name, path=path, stock=STOCK)
        open_many(blue)
        with open(again, "wb") as file:
            file.write(b"now")
        wait_until(lambda: os.path.getsize(again) == 0)
        return open_many(blue)


def test_stale_name_is_no_proof(broker: BrokerProcess, make_namespace: Callable[..., str]) -> None:
    """A shared mount that is not the broker's keeps the former namespace under its name, if the file stays."""
    name = make_namespace()
    again = broker.directory / "again"
    again.touch()
    child = start_as_user(0, 0, _stale, str(broker.socket_path), name, str(again))
    wait_until(lambda: again.stat().st_size > 0)
    subprocess.run(["umount", path_of(name)], check=True)
    subprocess.run(["unshare", f"--net={path_of(name)}", "true"], check=True)
    again.write_bytes(b"")
    assert child.result() == [cookie_inside(name)] * MANY


def test_slave_of_the_brokers_mounts_has_a_stock(broker: BrokerProcess, make_namespace: Callable[..., str]) -> None:
    name = make_namespace()
    cookies, said = as_user(0, 0, _in_other_mounts, str(broker.socket_path), name, [])
    assert (cookies, said) == ([cookie_inside(name)] * MANY, [])
    assert max(lots(broker)) > 1


def test_change_of_the_policy_holds_after_a_second(
    start_broker: Callable[..., BrokerProcess], make_namespace: Callable[..., str]
) -> None:
    """At the latest. Then the sockets in stock are closed, and the broker decides."""
    name = make_namespace()
    broker = start_broker(grant())
    blue = Namespace(name, path=str(broker.socket_path), stock=STOCK)
    open_many(blue)
    broker.configure(grant(sockets=("tcp",)))
    broker.reload()

    def is_refused() -> bool:
        try:
            blue.socket(*UDP).close()
        except nsbroker.AccessDeniedError:
            return True
        return False

    wait_until(is_refused)
    assert is_refused()


def _connect_from_stock(path: str, name: str) -> list[int]:
    blue = Namespace(name, path=path, stock=STOCK)
    errors = []
    for _ in range(MANY):
        with blue.socket(*UDP) as sock:
            errors.append(sock.connect_ex(("127.0.0.1", 53)) or sock.connect_ex(("127.0.0.1", 54)))
    return errors


def test_limits_hold_for_sockets_from_stock(
    start_broker: Callable[..., BrokerProcess], make_namespace: Callable[..., str]
) -> None:
    name = make_namespace()
    broker = start_broker(grant(connect=["127.0.0.1:53"]))
    assert as_unprivileged(_connect_from_stock, str(broker.socket_path), name) == [errno.EPERM] * MANY
    assert max(lots(broker)) > 1


def test_socket_from_stock_belongs_to_the_user(broker: BrokerProcess, make_namespace: Callable[..., str]) -> None:
    """A program that gives up root takes none of root's sockets along."""
    name = make_namespace()

    def owners() -> list[int]:
        blue = Namespace(name, path=str(broker.socket_path), stock=STOCK)
        open_many(blue)
        os.setresuid(USER, USER, USER)
        found = []
        for _ in range(MANY):
            with blue.socket(*UDP) as sock:
                found.append(os.fstat(sock.fileno()).st_uid)
        return found

    assert as_user(0, 65534, owners) == [USER] * MANY


class _PreviousBroker(BrokerProcess):
    packages = ""

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": self.packages}


def test_broker_of_the_previous_release_has_no_stock(make_namespace: Callable[..., str], open_directory: Any) -> None:
    """It refuses the request for one, once. Each socket is fresh."""
    name = make_namespace()
    broker = _PreviousBroker(grant())
    broker.packages = unpack(WHEELS[0], open_directory / "release")
    try:
        broker.start()
        with pytest.warns(RuntimeWarning, match="this broker is too old") as said:
            cookies = use_namespace(str(broker.socket_path), name)
        assert cookies == [cookie_inside(name)] * MANY
        assert len(said) == 1
        assert [record["outcome"] for record in broker.audit()].count("failed") == 1
    finally:
        broker.close()
