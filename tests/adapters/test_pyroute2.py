"""pyroute2's sockets in a namespace, read without rights. The truth is the output of `ip -json` and `ss` inside."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import select
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyroute2
import pytest
from pyroute2.netlink import ctrlmsg
from pyroute2.netlink.nlsocket import AsyncNetlinkSocket

import nsbroker
from nsbroker.adapters import pyroute2 as inside
from nsbroker.adapters.asyncio import loop_factory
from support.adapters.echo import descriptors
from support.adapters.example_org import CLIENT, NOBODY_ANSWERS, ExampleOrg
from support.brokers.process import BrokerProcess
from support.inside import cookie_here, cookie_inside, netns_cookie
from support.namespaces import PREFIX, ip
from support.users import USER, as_unprivileged

POLICY = f"""
[[grant]]
name = "netlink"
users = [{USER}]
namespaces = ["{PREFIX}*"]
sockets = ["tcp", "netlink:route", "netlink:sock_diag", "netlink:generic"]
"""
TIMEOUT_S = 20
LISTEN = 10


def told(namespace: str, *what: str) -> list[dict[str, Any]]:
    """What `ip -json` says of the namespace."""
    answer: list[dict[str, Any]] = json.loads(ip("-n", namespace, "-json", *what))
    return answer


def netlink_cookies() -> set[int]:
    """The namespaces of this process's netlink sockets."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the directory's own
            if os.readlink(path).startswith("socket:"):
                with socket.socket(fileno=os.dup(int(path.name))) as sock:
                    if sock.family == socket.AF_NETLINK:
                        found.add(netns_cookie(sock))
    return found


# Each table.


def read_links(namespace: str) -> list[tuple[int, str, int, str]]:
    with inside.IPRoute(namespace) as ipr:
        keys = ("index", "ifname", "mtu", "address")
        return sorted(tuple(link.get(key) for key in keys) for link in ipr.link("dump"))


def test_links_are_those_of_the_namespace(site: ExampleOrg) -> None:
    links = told(site.client, "link")
    assert site.run(read_links) == [(each["ifindex"], each["ifname"], each["mtu"], each["address"]) for each in links]


def read_addresses(namespace: str) -> set[tuple[int, str, int]]:
    with inside.IPRoute(namespace) as ipr:
        return {(each["index"], each.get("address"), each["prefixlen"]) for each in ipr.addr("dump")}


def test_addresses_are_those_of_the_namespace(site: ExampleOrg) -> None:
    interfaces = told(site.client, "address")
    addresses = {
        (each["ifindex"], address["local"], address["prefixlen"])
        for each in interfaces
        for address in each["addr_info"]
    }
    assert CLIENT in {address for _, address, _ in addresses}
    assert site.run(read_addresses) == addresses


def read_routes(namespace: str) -> set[tuple[str, str | None, str]]:
    with inside.IPRoute(namespace) as ipr:
        names = {link["index"]: link.get("ifname") for link in ipr.link("dump")}
        return {
            (
                f"{route.get('dst')}/{route['dst_len']}" if route.get("dst") else "default",
                route.get("gateway"),
                names[route.get("oif")],
            )
            for route in ipr.route("dump", family=socket.AF_INET, table=254)
        }


def test_routes_are_those_of_the_namespace(site: ExampleOrg) -> None:
    routes = {(each["dst"], each.get("gateway"), each["dev"]) for each in told(site.client, "route")}
    assert len(routes) == 2
    assert site.run(read_routes) == routes


def read_neighbours(namespace: str) -> dict[str, str]:
    with inside.IPRoute(namespace) as ipr:
        return {each.get("dst"): each.get("lladdr") for each in ipr.neigh("dump", family=socket.AF_INET)}


def test_neighbours_are_those_of_the_namespace(site: ExampleOrg) -> None:
    neighbours = {each["dst"]: each.get("lladdr") for each in told(site.client, "-4", "neighbour")}
    assert NOBODY_ANSWERS in neighbours
    assert site.run(read_neighbours).items() >= {(NOBODY_ANSWERS, neighbours[NOBODY_ANSWERS])}


def read_rules(namespace: str) -> list[int]:
    with inside.IPRoute(namespace) as ipr:
        return sorted(rule.get("priority") or 0 for rule in ipr.rule("dump", family=socket.AF_INET))


def test_rules_are_those_of_the_namespace(site: ExampleOrg) -> None:
    """One of them only exists there."""
    ip("-n", site.client, "rule", "add", "from", "10.98.0.77", "lookup", "main", "priority", "7777")
    try:
        assert site.run(read_rules) == [0, 7777, 32766, 32767]
    finally:
        ip("-n", site.client, "rule", "delete", "priority", "7777")


def read_listeners(namespace: str) -> list[tuple[str, int]]:
    with (
        nsbroker.Namespace(namespace).create_server(("127.0.0.1", 7)),
        socket.create_server(("127.0.0.1", 0)),  # in the program's own namespace
        inside.DiagSocket(namespace) as diag,
    ):
        found = diag.get_sock_stats(family=socket.AF_INET, protocol=socket.IPPROTO_TCP, states=1 << LISTEN)
        return sorted((each["idiag_src"], each["idiag_sport"]) for each in found)


def listeners_by_ss(namespace: str) -> list[tuple[str, int]]:
    command = ["ip", "netns", "exec", namespace, "ss", "--no-header", "--numeric", "--tcp", "--listening", "-4"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    pairs = (line.split()[3].rpartition(":") for line in lines)
    return sorted((address.partition("%")[0], int(port)) for address, _, port in pairs)


def test_sockets_are_those_of_the_namespace(site: ExampleOrg) -> None:
    """With the one that the program opened there, without the one that it opened in its own."""
    expected = sorted([*listeners_by_ss(site.client), ("127.0.0.1", 7)])
    assert site.run(read_listeners) == expected


def read_link_states(namespace: str) -> tuple[int, int]:
    with inside.NlEthtool(namespace) as ethtool:
        [first] = ethtool.get_linkstate("eth0")

    async def read() -> int:
        async with inside.AsyncNlEthtool(namespace) as ethtool:
            [message] = [message async for message in await ethtool.get_linkstate("eth0")]
        return int(message.get("ETHTOOL_A_LINKSTATE_LINK"))

    return first.get("ETHTOOL_A_LINKSTATE_LINK"), asyncio.run(read())


def test_ethtool_reads_interfaces_of_the_namespace(site: ExampleOrg) -> None:
    """eth0 does not exist outside."""
    assert site.run(read_link_states) == (1, 1)


def read_by_ioctl(namespace: str) -> tuple[int, int, bool]:
    with inside.Ethtool(namespace) as ethtool:
        by_netlink, by_ioctl = (ethtool.get_link_mode("eth0", with_netlink=each) for each in (True, False))
        features = ethtool.get_features("eth0").features
        with pytest.raises(OSError, match="No such device"):
            ethtool.get_features("leak0")  # an interface of the program's own namespace
        return by_netlink.speed, by_ioctl.speed, "tx-scatter-gather" in features


def test_ethtool_asks_by_ioctl_inside(site: ExampleOrg) -> None:
    assert site.run(read_by_ioctl) == (10000, 10000, True)


def find_family(namespace: str) -> int:
    with inside.GenericNetlinkSocket(namespace) as sock:
        sock.bind("nlctrl", ctrlmsg)
        return int(sock.prid)


def test_generic_families_are_found(site: ExampleOrg) -> None:
    assert site.run(find_family) == 16


# Events.


def wait_by_get(namespace: str, ready: socket.socket) -> str:
    with inside.IPRoute(namespace) as ipr:
        ipr.bind()
        ready.send(b"x")
        while True:
            for message in ipr.get():
                if message["event"] == "RTM_NEWADDR":
                    return str(message.get("address"))


def wait_by_select(namespace: str, ready: socket.socket) -> str:
    with inside.IPRSocket(namespace) as sock:
        sock.bind()
        ready.send(b"x")
        while select.select([sock], [], [], TIMEOUT_S)[0]:
            for message in sock.get():
                if message["event"] == "RTM_NEWADDR":
                    return str(message.get("address"))
    raise TimeoutError


def wait_in_asyncio(namespace: str, ready: socket.socket) -> str:
    async def wait(make: Callable[[str], Any]) -> str:
        async with asyncio.timeout(TIMEOUT_S), make(namespace) as sock:
            await sock.bind()
            ready.send(b"x")
            while True:
                async for message in sock.get():
                    if message["event"] == "RTM_NEWADDR":
                        return str(message.get("address"))

    async def wait_for_both() -> list[str]:
        return await asyncio.gather(wait(inside.AsyncIPRoute), wait(inside.AsyncIPRSocket))

    first, second = asyncio.run(wait_for_both())
    assert first == second
    return first


@pytest.mark.parametrize(("wait", "sockets"), [(wait_by_get, 1), (wait_by_select, 1), (wait_in_asyncio, 2)])
def test_events_of_the_namespace_arrive(
    site: ExampleOrg, wait: Callable[[str, socket.socket], str], sockets: int
) -> None:
    """An address that is added outside of the namespace meanwhile is no event."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = site.start(wait, theirs)
        ours.settimeout(TIMEOUT_S)
        for _ in range(sockets):
            assert ours.recv(1) == b"x"
        ip("-n", site.outside.name, "address", "add", "10.97.0.66/32", "dev", "lo")
        ip("-n", site.client, "address", "add", "10.98.0.66/32", "dev", "lo")
        try:
            assert child.result() == "10.98.0.66"
        finally:
            ip("-n", site.outside.name, "address", "delete", "10.97.0.66/32", "dev", "lo")
            ip("-n", site.client, "address", "delete", "10.98.0.66/32", "dev", "lo")


# Many namespaces, threads, and the end.


def read_all(path: str, names: list[str], cookies: set[int]) -> list[list[str]]:
    opened = asyncio.Barrier(len(names))

    async def read(name: str) -> list[str]:
        async with inside.AsyncIPRoute(nsbroker.Namespace(name, path=path)) as ipr:
            found = [link.get("ifname") async for link in await ipr.link("dump")]
            if await opened.wait() == 0:
                assert netlink_cookies() == cookies
            await opened.wait()
        return [name for name in found if name.startswith("of")]

    async def main() -> list[list[str]]:
        return await asyncio.gather(*(read(name) for name in names))

    answers = asyncio.run(main())
    assert threading.active_count() == 1
    assert netlink_cookies() == set()
    return answers


def test_fifty_namespaces_in_one_event_loop(
    start_broker: Callable[[str], BrokerProcess], make_namespace: Callable[[str], str]
) -> None:
    """In one thread, all at once, and each answers for itself."""
    names = [make_namespace(f"many{number}") for number in range(50)]
    for number, name in enumerate(names):
        ip("-n", name, "link", "add", f"of{number}", "type", "veth", "peer", "name", "peer")
    cookies = {cookie_inside(name) for name in names}
    answers = as_unprivileged(read_all, str(start_broker(POLICY).socket_path), names, cookies)
    assert answers == [[f"of{number}"] for number in range(50)]


def read_in_threads(namespace: str) -> tuple[list[list[str]], set[int], int]:
    expected, sights = [], []
    ipr = inside.IPRoute(namespace)
    before = descriptors()
    together = threading.Barrier(8)

    def read() -> None:
        together.wait(TIMEOUT_S)
        for _ in range(5):
            expected.append([link.get("ifname") for link in ipr.link("dump")])
        together.wait(TIMEOUT_S)
        sights.append(netlink_cookies())
        together.wait(TIMEOUT_S)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ipr.close()
    assert netlink_cookies() == set()
    return expected, set.union(*sights), descriptors() - before


def test_each_thread_gets_a_socket_of_the_namespace(site: ExampleOrg) -> None:
    """Eight threads at once, on one object."""
    links = [each["ifname"] for each in told(site.client, "link")]
    answers, cookies, _ = site.run(read_in_threads)
    assert [sorted(answer) for answer in answers] == [sorted(links)] * 40
    assert cookies == {cookie_inside(site.client)}


def use_two(namespace: str, other: str) -> list[list[str]]:
    with inside.IPRoute(namespace) as first, inside.IPRoute(other) as second:
        return [sorted(link.get("ifname") for link in ipr.link("dump")) for ipr in (first, second, first)]


def test_two_namespaces_at_once(site: ExampleOrg, make_namespace: Callable[[str], str]) -> None:
    other = make_namespace("alpha")
    own, its = (sorted(each["ifname"] for each in told(name, "link")) for name in (site.client, other))
    assert own != its
    assert site.run(use_two, other) == [own, its, own]


def use_each(namespace: str) -> list[set[int]]:
    """Return the namespaces that each class has netlink sockets in. After close, it has none."""
    inside.IPRoute(namespace).close()  # From here on, the connection to the broker stays open.
    before, seen = descriptors(), []
    for make in (inside.IPRoute, inside.DiagSocket, inside.GenericNetlinkSocket, inside.NlEthtool, inside.Ethtool):
        with make(namespace):
            seen.append(netlink_cookies())
        assert descriptors() == before, make
    with inside.IPRSocket(namespace) as sock:
        sock.bind()
        seen.append(netlink_cookies())

    async def use_async() -> None:
        for make in (
            inside.AsyncIPRoute,
            inside.AsyncIPRSocket,
            inside.AsyncNlEthtool,
            inside.AsyncGenericNetlinkSocket,
        ):
            async with make(namespace) as sock:
                await sock.setup_endpoint()
                seen.append(netlink_cookies())

    asyncio.run(use_async())
    assert descriptors() == before
    return seen


def test_every_class_has_its_sockets_inside_until_close(site: ExampleOrg) -> None:
    assert site.run(use_each) == [{cookie_inside(site.client)}] * 10


# Hooks that pyroute2 ignores, and ways out.


class OwnIPRoute(inside.IPRoute):
    async_class = pyroute2.AsyncIPRoute


class OwnDiagSocket(inside.DiagSocket):
    async_class = AsyncNetlinkSocket


class AsyncOwnGeneric(pyroute2.AsyncGenericNetlinkSocket):
    pass


class OwnGeneric(inside.GenericNetlinkSocket):
    async_class = AsyncOwnGeneric


class OtherIPRoute(inside.Inside, pyroute2.RawIPRoute):
    pass


class AsyncOther(inside.AsyncInside, pyroute2.AsyncNlEthtool):
    pass


def use_subclasses(namespace: str) -> tuple[list[set[int]], int]:
    seen = []
    for make in (OwnIPRoute, OwnDiagSocket, OwnGeneric, OtherIPRoute):
        with make(namespace):
            seen.append(netlink_cookies())

    async def use_async() -> None:
        async with AsyncOther(namespace) as sock:
            await sock.setup_endpoint()
            seen.append(netlink_cookies())

    asyncio.run(use_async())
    with inside.IPRoute(namespace) as ipr:
        ipr.asyncore = pyroute2.AsyncIPRoute()
        seen.append({netns_cookie(ipr.asyncore.socket)})
    return seen, cookie_here()


def test_subclasses_are_inside(site: ExampleOrg) -> None:
    """With `async_class` as well, which pyroute2 ignores in IPRoute, and takes in its other classes."""
    seen, own = site.run(use_subclasses)
    assert own == cookie_inside(site.outside.name)
    assert seen == [{cookie_inside(site.client)}] * 6


def leave(namespace: str) -> None:
    options = {
        "netns": namespace,
        "fileno": 0,
        "use_socket": socket.socket(),
        "libc": object(),
        "telemetry": ("::1", 1),
    }
    for name, value in options.items():
        for make in (inside.IPRoute, inside.AsyncIPRoute, inside.DiagSocket, inside.NlEthtool):
            with pytest.raises(TypeError, match=f"pyroute2 in a namespace has no option {name}: "):
                make(namespace, **{name: value})
    pyroute2.config.telemetry = ("127.0.0.1", 8125)
    for make in (inside.IPRoute, inside.AsyncIPRoute):
        with pytest.raises(TypeError, match=r"needs pyroute2.config.telemetry = None"):
            make(namespace)


def test_options_that_lead_out_are_refused(site: ExampleOrg) -> None:
    """DiagSocket of pyroute2 ignores `fileno`."""
    site.run(leave)


def hand_in_used_object(namespace: str) -> None:
    used = pyroute2.IPRoute()
    with inside.IPRoute(namespace) as ipr, pytest.raises(ValueError, match="in the program's own namespace already"):
        ipr.asyncore = used.asyncore
    used.close()
    with pytest.raises(NotImplementedError, match="make another one of its class"):
        inside.AsyncIPRoute(namespace).clone()


def test_object_with_sockets_outside_is_refused(site: ExampleOrg) -> None:
    site.run(hand_in_used_object)


def let_pyroute2_act(namespace: str) -> None:
    with inside.IPRoute(namespace) as ipr:
        for name, call in {
            "manage_tuntap": lambda: ipr.link("add", ifname="tun7", kind="tuntap", mode="tun"),
            "proxy_newprobe": lambda: ipr.probe("add", kind="ping", dst="10.97.0.1", num=1, timeout=1),
        }.items():
            with pytest.raises(NotImplementedError, match=f"by {name}, which would be in the program's own namespace"):
                call()
        assert "lo" in {link.get("ifname") for link in ipr.link("dump")}

    async def act() -> None:
        async with inside.AsyncIPRoute(namespace) as ipr:
            await ipr.probe("add", kind="ping", dst="10.97.0.1", num=1, timeout=1)

    with pytest.raises(NotImplementedError, match="by proxy_newprobe"):
        asyncio.run(act())


def test_requests_that_pyroute2_carries_out_itself_are_refused(site: ExampleOrg) -> None:
    """Interfaces made by ioctl, and pings: the kernel does not see these requests."""
    site.run(let_pyroute2_act)


def test_version_that_makes_its_own_sockets_is_refused(
    start_broker: Callable[[str], BrokerProcess], make_namespace: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ignore_fileno(self: Any) -> socket.socket:
        return socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, self.spec["family"])

    monkeypatch.setattr(AsyncNetlinkSocket, "setup_socket", ignore_fileno)
    name, path = make_namespace("old"), str(start_broker(POLICY).socket_path)
    as_unprivileged(use_other_version, path, name)


def use_other_version(path: str, name: str) -> None:
    with pytest.raises(
        nsbroker.WrongNamespaceError, match="this version of pyroute2 makes its sockets in the program's"
    ):
        inside.IPRoute(nsbroker.Namespace(name, path=path))


# Rights.


def change_links(namespace: str) -> list[int]:
    codes = []
    with inside.IPRoute(namespace) as ipr:
        loopback = ipr.link_lookup(ifname="lo")[0]
        for call in (
            lambda: ipr.link("add", ifname="new", kind="bridge"),
            lambda: ipr.link("set", index=loopback, state="down"),
            lambda: ipr.addr("add", index=loopback, address="10.1.1.1", prefixlen=32),
            lambda: ipr.route("add", dst="10.2.0.0/16", oif=loopback),
            lambda: ipr.rule("add", priority=5, table=254),
            lambda: ipr.neigh("add", dst="10.98.0.5", lladdr="02:00:00:00:00:05", ifindex=loopback),
        ):
            with pytest.raises(pyroute2.NetlinkError) as failure:
                call()
            codes.append(failure.value.code)
    return codes


def test_kernel_refuses_changes(site: ExampleOrg) -> None:
    """Like for the same user's own socket inside."""
    assert site.run(change_links) == [errno.EPERM] * 6


def list_own_links_in_a_loop_of(path: str, name: str) -> tuple[str, set[str]]:
    host = nsbroker.Namespace("@host", path=path)

    async def ask() -> tuple[str, set[str]]:
        async with inside.AsyncIPRoute(host) as ipr:
            found = {link.get("ifname") async for link in await ipr.link("dump")}
            async for address in await ipr.addr("dump"):
                assert address["index"]
        with pytest.raises(nsbroker.WrongNamespaceError) as refused:
            async with pyroute2.AsyncIPRoute() as outside:
                await outside.link("dump")
        return str(refused.value), found

    with asyncio.Runner(loop_factory=loop_factory(nsbroker.Namespace(name, path=path))) as runner:
        return runner.run(ask())


def test_own_namespace_is_allowed_in_a_loop_of_another_one(
    start_broker: Callable[[str], BrokerProcess], make_namespace: Callable[[str], str]
) -> None:
    """The loop refuses the sockets that pyroute2 itself makes there."""
    path = str(start_broker(POLICY.replace('"]\nsockets', '", "@host"]\nsockets')).socket_path)
    refusal, found = as_unprivileged(list_own_links_in_a_loop_of, path, make_namespace("other"))
    assert refusal.startswith("[Errno 18] pyroute2 has a socket of the program's own network namespace")
    assert found == {each["ifname"] for each in json.loads(subprocess.check_output(["ip", "-json", "link"]))}


def ask_without_grant(path: str, name: str) -> None:
    place = nsbroker.Namespace(name, path=path)
    inside.IPRoute(place).close()  # From here on, the connection to the broker stays open.
    for make, kind in {inside.DiagSocket: "netlink:sock_diag", inside.NlEthtool: "netlink:generic"}.items():
        before = descriptors()
        with pytest.raises(nsbroker.AccessDeniedError, match=f"allows no {kind} sockets"):
            make(place)
        assert descriptors() == before

    async def ask() -> None:
        async with inside.AsyncNlEthtool(place) as ethtool:
            await ethtool.get_linkstate("lo")

    with pytest.raises(nsbroker.AccessDeniedError, match="allows no netlink:generic sockets"):
        asyncio.run(ask())


def test_each_kind_needs_its_grant(
    start_broker: Callable[[str], BrokerProcess], make_namespace: Callable[[str], str]
) -> None:
    policy = POLICY.replace(', "netlink:sock_diag", "netlink:generic"', "")
    as_unprivileged(ask_without_grant, str(start_broker(policy).socket_path), make_namespace("bare"))
