"""`nsbroker-get NS resolve HOST`: the answers of the namespace's name servers and hosts, for an unprivileged user."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from support import namespaces
from support.brokers.process import BrokerProcess
from support.inside import call_inside
from support.names import dnsmasq
from support.names.dnsmasq import ADDRESS, SILENT, Dnsmasq, OwnFiles, ask_glibc
from support.process_state import state
from support.tool.running import RunTool, run_tool
from support.waiting import wait_until

RECORDS = ["--local=/#/", "--host-record=www.test,10.0.0.1,2001:db8::1", "--host-record=six.test,2001:db8::6"]
HOSTS = "10.5.5.5 in-hosts\nfe80::7%net0 near\n"


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> Iterator[str]:
    """A namespace with a name server and files of its own."""
    if reason := dnsmasq.why_not():
        pytest.skip(reason)
    name = make_namespace("resolve")
    dnsmasq.add_network(name)
    files = OwnFiles(name)
    files.write(f"nameserver {ADDRESS}\nsearch test\n", HOSTS)
    server = Dnsmasq(name, RECORDS)
    yield name
    server.stop()
    files.close()


@pytest.fixture
def run(broker: BrokerProcess) -> Iterator[RunTool]:
    with run_tool(broker) as tool:
        yield tool


def test_addresses_come_one_a_line_in_the_order_to_try_them(run: RunTool, name: str) -> None:
    """The same as from the C library inside."""
    [expected] = ask_glibc(name, "getaddrinfo", [("www.test", 0, 0, socket.SOCK_STREAM)])
    hosts = [row[4][0] for row in expected]
    assert sorted(hosts) == ["10.0.0.1", "2001:db8::1"]
    assert run(name, "resolve", "www.test") == (0, "\n".join(hosts) + "\n", "")


def test_family_can_be_asked_for(run: RunTool, name: str) -> None:
    assert run(name, "resolve", "-4", "www") == (0, "10.0.0.1\n", "")
    assert run(name, "resolve", "www", "-6") == (0, "2001:db8::1\n", "")


def test_hosts_file_and_numbers_count(run: RunTool, name: str) -> None:
    assert run(name, "resolve", "in-hosts") == (0, "10.5.5.5\n", "")
    assert run(name, "resolve", "192.0.2.1") == (0, "192.0.2.1\n", "")


def test_link_local_address_comes_with_its_interface(run: RunTool, name: str) -> None:
    """The name is that of the namespace. Here, the interface has another index or does not exist."""
    index = call_inside(name, socket.if_nametoindex, "net0")
    assert run(name, "resolve", f"fe80::7%{index}") == (0, "fe80::7%net0\n", "")


def test_interface_can_not_tell_the_terminal_what_to_do(run: RunTool, name: str) -> None:
    namespaces.ip("-n", name, "link", "add", "a\x1b[2Jb", "type", "veth", "peer", "name", "other")
    index = call_inside(name, socket.if_nametoindex, "a\x1b[2Jb")
    assert run(name, "resolve", f"fe80::7%{index}") == (0, "fe80::7%a?[2Jb\n", "")


def test_namespace_may_be_a_path(run: RunTool, name: str) -> None:
    assert run(f"/run/netns/{name}", "resolve", "-4", "www") == (0, "10.0.0.1\n", "")


def test_namespace_is_waited_for(run: RunTool, make_namespace: Callable[..., str]) -> None:
    name = f"{namespaces.PREFIX}later"
    files = OwnFiles(name)
    files.write("", HOSTS)
    try:
        running = run.start("--wait", "60", name, "resolve", "in-hosts")
        wait_until(lambda: state(running.pid) in "SZ")
        assert make_namespace("later") == name
        assert running.finish() == (0, "10.5.5.5\n", "")
    finally:
        files.close()


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["nope.test"], "can't resolve nope.test: Name or service not known"),
        (["-4", "six.test"], "can't resolve six.test: No address associated with hostname"),
        (["not a name"], "can't resolve not a name: Name or service not known"),
    ],
)
def test_host_that_does_not_exist_is_one_line(run: RunTool, name: str, args: list[str], line: str) -> None:
    assert run(name, "resolve", *args) == (1, "", f"nsbroker-get: {line}\n")


def test_name_server_that_does_not_answer_is_named(run: RunTool, make_namespace: Callable[..., str]) -> None:
    name = make_namespace("silent")
    dnsmasq.add_network(name)
    files = OwnFiles(name)
    files.write(f"nameserver {SILENT}\noptions timeout:1 attempts:1\n", "")
    try:
        done = run(name, "resolve", "www.test")
    finally:
        files.close()
    assert done == (
        1,
        "",
        "nsbroker-get: can't resolve www.test: Temporary failure in name resolution; "
        f"name server {SILENT} of /etc/netns/{name}/resolv.conf: no answer in time\n",
    )
