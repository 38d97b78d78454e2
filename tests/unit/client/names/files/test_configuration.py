"""A namespace's files are believed for a moment, and read again only when they changed."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from nsbroker.drivers.thread import run
from nsbroker.names.files import gai_conf, host_conf, nsswitch
from nsbroker.names.files.configuration import parse, read_environment
from nsbroker.names.host import Host
from nsbroker.names.resolver import KEEP_S, Resolver


class Files(NamedTuple):
    resolv_conf: str = "nameserver 10.0.0.1\n"
    hosts: str = "10.0.0.5 five\n"
    origin: str = "/etc/netns/blue/resolv.conf"
    files: Mapping[str, str] = MappingProxyType({})


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Broker:
    """Hands out `files`, and counts how often."""

    def __init__(self) -> None:
        self.files = Files()
        self.asked = 0

    async def read_files(self) -> Files:
        self.asked += 1
        return self.files


async def open_no_socket(family: int, type_: int) -> socket.socket:
    raise NotImplementedError


def test_files_are_read_into_a_configuration() -> None:
    configuration = parse(Files(), "blue", lambda: "machine.corp.test")
    assert [str(server) for server in configuration.settings.servers] == ["10.0.0.1"]
    assert configuration.settings.search == ("corp.test",)
    assert configuration.hosts.by_address(socket.AF_INET, "10.0.0.5") == Host("five", (), ((2, "10.0.0.5"),))
    assert (configuration.origin, configuration.namespace) == ("/etc/netns/blue/resolv.conf", "blue")


def test_configuration_is_fresh_for_a_few_seconds() -> None:
    broker, clock = Broker(), Clock()
    resolver = Resolver(open_no_socket, broker.read_files, "blue", clock)
    first = run(resolver.configuration())
    clock.now_s += KEEP_S - 0.01
    assert run(resolver.configuration()) is first
    assert broker.asked == 1
    clock.now_s += 0.01
    run(resolver.configuration())
    assert broker.asked == 2


def test_same_texts_are_not_read_again() -> None:
    broker, clock = Broker(), Clock()
    resolver = Resolver(open_no_socket, broker.read_files, "blue", clock)
    first = run(resolver.configuration())
    clock.now_s += KEEP_S
    assert run(resolver.configuration()) is first
    broker.files = Files(resolv_conf="nameserver 10.0.0.2\n")
    clock.now_s += KEEP_S
    changed = run(resolver.configuration())
    assert [str(server) for server in changed.settings.servers] == ["10.0.0.2"]
    assert run(resolver.configuration()) is changed


def test_further_files_have_their_parts() -> None:
    files = {
        "gai.conf": "precedence ::/0 1\n",
        "host.conf": "multi on\n",
        "nsswitch.conf": "hosts: dns\n",
        "services": "ours 4000/tcp\n",
        "protocols": "ours 99\n",
    }
    configuration = parse(Files(files=files))
    assert configuration.rules == gai_conf.parse(files["gai.conf"])
    assert configuration.host_conf == host_conf.HostConf(multi=True)
    assert configuration.sources == (nsswitch.Source("dns"),)
    assert configuration.port_of("ours", "tcp") == 4000
    assert configuration.service_of(4000) == "ours"
    assert configuration.protocol_of("ours") == 99


def test_files_that_are_not_there_have_the_defaults_of_glibc() -> None:
    """The lists of numbers are then those of this machine."""
    configuration = parse(Files(hosts="10.0.0.5 five\n10.0.0.6 five\n"))
    assert configuration.sources == (nsswitch.Source("files"), nsswitch.Source("dns"))
    assert configuration.hosts.by_name("five", 0) == Host("five", (), ((2, "10.0.0.5"),))
    assert configuration.port_of("domain", "udp") == 53


def test_environment_overrides_the_files(tmp_path: Path) -> None:
    (tmp_path / "host.conf").write_text("multi off\ntrim .test\n")
    files = Files("search a.test\n", files={"host.conf": "multi on\n"})
    variables = {"LOCALDOMAIN": "b.test", "RES_OPTIONS": "ndots:3", "RESOLV_HOST_CONF": str(tmp_path / "host.conf")}
    environment = read_environment({**variables, "HOSTALIASES": "/x", "RESOLV_REORDER": "on", "HOME": "/"})
    configuration = parse(files, environment=environment)
    assert (configuration.settings.search, configuration.settings.ndots) == (("b.test",), 3)
    assert configuration.host_conf == host_conf.HostConf(reorder=True, trim=(".test",))
    assert configuration.aliases_file == "/x"
    nowhere = read_environment({"RESOLV_HOST_CONF": str(tmp_path / "nowhere")})
    assert not parse(files, environment=nowhere).host_conf.multi


def test_changed_environment_is_read_like_a_changed_file() -> None:
    broker, clock, environ = Broker(), Clock(), {"LOCALDOMAIN": "a.test", "HOME": "/root"}
    resolver = Resolver(open_no_socket, broker.read_files, "blue", clock, environ)
    assert run(resolver.configuration()).settings.search == ("a.test",)
    environ["LOCALDOMAIN"] = "b.test"
    clock.now_s += KEEP_S
    assert run(resolver.configuration()).settings.search == ("b.test",)
