"""A namespace's files are believed for a moment, and read again only when they changed."""

from __future__ import annotations

import socket
from typing import NamedTuple

from nsbroker.drivers.thread import run
from nsbroker.names.files.configuration import parse
from nsbroker.names.resolver import KEEP_S, Resolver


class Files(NamedTuple):
    resolv_conf: str = "nameserver 10.0.0.1\n"
    hosts: str = "10.0.0.5 five\n"
    origin: str = "/etc/netns/blue/resolv.conf"


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
    assert configuration.hosts.by_address("10.0.0.5") == ("five",)
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
