"""Which name servers the files name, for all namespaces of a grant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nsbroker.names.files import resolv_conf
from nsbrokerd.namespaces.resolver_files import NameServers
from nsbrokerd.policy import NamespaceRule


def write(etc: Path, name: str, text: str) -> None:
    path = etc / f"netns/{name}/resolv.conf" if name else etc / "resolv.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def test_servers_of_covered_namespaces_and_of_the_system_are_found_each_once(tmp_path: Path) -> None:
    write(tmp_path, "", "nameserver 192.0.2.1\nsearch example.org\n")
    write(tmp_path, "blue", "nameserver 192.0.2.2\nnameserver 192.0.2.1\n")
    write(tmp_path, "red", "nameserver 192.0.2.3\n")
    write(tmp_path, "tenant-a", "nameserver 192.0.2.4\n")
    covers = NamespaceRule.parse(["blue", "tenant-*"]).covers
    assert NameServers(str(tmp_path)).for_namespaces(covers) == ["192.0.2.1", "192.0.2.2", "192.0.2.4"]


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("nameserver fe80::1%eth0\nnameserver 127.1 # near\n", ["fe80::1", "127.0.0.1"]),
        ("nameserver\t10.0.0.1 ;x\n nameserver ::2\nnameserver ::FFFF:10.0.0.3\n", ["10.0.0.1", "::ffff:10.0.0.3"]),
        ("nameserver 10.0.0.1;x\nnameserver ::2#53\nnameserver\x0b10.0.0.3\nnameserver 10.0.0.4\r\n", ["10.0.0.4"]),
        ("nameserver 10.0.0.1\x00\nnameserver ::1\x00\nnameserver fe80::1%\x00\n", ["fe80::1"]),
        ("nameserver ::1\nnameserver ::2\nnameserver ::3\nnameserver ::4\n", ["::1", "::2", "::3"]),
        ("nameserver example.org\nnameserver\noptions edns0\n", ["127.0.0.1"]),
        ("", ["127.0.0.1"]),
    ],
)  # fmt: skip
def test_a_file_is_read_as_the_client_reads_it(tmp_path: Path, text: str, servers: list[str]) -> None:
    write(tmp_path, "", text)
    assert NameServers(str(tmp_path)).for_namespaces(lambda _name: True) == servers
    assert [server.address for server in resolv_conf.parse(text).servers] == servers


def test_directory_whose_name_is_no_text_is_nobodys(tmp_path: Path) -> None:
    """No namespace can be asked for by it."""
    os.makedirs(os.fsencode(tmp_path) + b"/netns/caf\xe9")
    write(tmp_path, "", "nameserver 192.0.2.1\n")
    assert NameServers(str(tmp_path)).for_namespaces(lambda _name: True) == ["192.0.2.1"]


def test_what_can_not_be_read_names_nobody(tmp_path: Path) -> None:
    write(tmp_path, "blue/resolv.conf", "a directory in the file's place")
    write(tmp_path, "", "nameserver 192.0.2.1\n")
    assert NameServers(str(tmp_path)).for_namespaces(lambda _name: True) == ["192.0.2.1"]
