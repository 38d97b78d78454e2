"""A `Namespace` looks up names, services and interfaces where its sockets are."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator

import pytest

import nsbroker
from support.brokers.process import BrokerProcess
from support.names.etc_netns import ETC, make_files, remove_files
from support.namespaces import ip
from support.users import GROUP, USER, as_user


@pytest.fixture
def blue(make_namespace: Callable[..., str]) -> Iterator[str]:
    """A namespace with files of its own in /etc/netns, and an interface that no other has."""
    name = make_namespace("blue")
    ip("-n", name, "link", "add", "onlyhere0", "type", "veth", "peer", "name", "onlyhere1")
    files = make_files(name)
    (files / "hosts").write_text("127.0.0.7 host.example alias.example\n")
    (files / "resolv.conf").write_text("nameserver 127.0.0.1\noptions attempts:1 timeout:1\n")
    yield name
    remove_files(name)


def _look_around(path: str, name: str) -> dict[str, object]:
    blue = nsbroker.Namespace(name, path=path)
    index = blue.if_nametoindex("onlyhere0")
    with blue.create_server(("host.example", 80)) as server, blue.create_connection(("alias.example", "http")) as near:
        return {
            "files": nsbroker.Client(path).resolver_files(name).origin,
            "addresses": {info[4] for info in blue.getaddrinfo("host.example", "https", 0, socket.SOCK_STREAM)},
            "server": server.getsockname(),
            "peer": near.getpeername(),
            "back": blue.getnameinfo(("127.0.0.7", 80), 0),
            "by name": [blue.gethostbyname("alias.example"), blue.gethostbyname_ex("host.example")],
            "by address": [blue.gethostbyaddr("127.0.0.7"), blue.getfqdn("127.0.0.7"), blue.getfqdn("127.0.0.8")],
            "interfaces": [blue.if_indextoname(index), (index, "onlyhere0") in blue.if_nameindex()],
        }


def test_unprivileged_program_finds_names_as_the_namespace_has_them(blue: str, broker: BrokerProcess) -> None:
    """The files are those of /etc/netns/NAME, as for `ip netns exec`. The program need not be able to read them."""
    (ETC / blue).chmod(0o700)
    assert as_user(USER, GROUP, _look_around, str(broker.socket_path), blue) == {
        "files": f"/etc/netns/{blue}/resolv.conf",
        "addresses": {("127.0.0.7", 443)},
        "server": ("127.0.0.7", 80),
        "peer": ("127.0.0.7", 80),
        "back": ("host.example", "http"),
        "by name": ["127.0.0.7", ("host.example", ["alias.example"], ["127.0.0.7"])],
        "by address": [("host.example", ["alias.example"], ["127.0.0.7"]), "host.example", "127.0.0.8"],
        "interfaces": ["onlyhere0", True],
    }


def test_interfaces_are_those_that_ip_shows(blue: str, broker: BrokerProcess) -> None:
    shown = subprocess.run(["ip", "-n", blue, "-o", "link"], capture_output=True, text=True, check=True).stdout
    expected = {(int(line.split(":")[0]), line.split(":")[1].split("@")[0].strip()) for line in shown.splitlines()}
    assert set(nsbroker.Namespace(blue, path=str(broker.socket_path)).if_nameindex()) == expected


def test_files_are_for_those_who_have_ip_sockets_there(blue: str, start_broker: Callable[..., BrokerProcess]) -> None:
    grant = f'[[grant]]\nname = "g"\nusers = [0]\nnamespaces = ["{blue}"]\nsockets = ["KIND"]\n'
    path = start_broker(grant.replace("KIND", "unix")).socket_path
    with pytest.raises(nsbroker.AccessDeniedError, match="no grant of uid 0 allows IP sockets"):
        nsbroker.Client(str(path)).resolver_files(blue)
    client = nsbroker.Client(str(start_broker(grant.replace("KIND", "icmp")).socket_path))
    assert client.resolver_files(blue).hosts.startswith("127.0.0.7")
    assert client.resolver_files(f"/run/netns/{blue}") == client.resolver_files(blue)
    with pytest.raises(nsbroker.AccessDeniedError):
        client.resolver_files("@host")
    ip("netns", "delete", blue)
    with pytest.raises(nsbroker.NamespaceNotFoundError):
        client.resolver_files(blue)
