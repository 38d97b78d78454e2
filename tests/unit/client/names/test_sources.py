"""A namespace's files are believed for a moment, and read again only when they changed."""

from __future__ import annotations

from typing import NamedTuple

from nsbroker.names.files.configuration import KEEP_S, Configuration, Configurations


class Files(NamedTuple):
    resolv_conf: str = "nameserver 10.0.0.1\n"
    hosts: str = "10.0.0.5 five\n"
    origin: str = "/etc/netns/blue/resolv.conf"


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_files_are_read_into_a_configuration() -> None:
    kept = Configurations("blue", hostname=lambda: "machine.corp.test")
    configuration = kept.store(Files())
    assert [str(server) for server in configuration.settings.servers] == ["10.0.0.1"]
    assert configuration.settings.search == ("corp.test",)
    assert configuration.hosts.by_address("10.0.0.5") == ("five",)
    assert (configuration.origin, configuration.namespace) == ("/etc/netns/blue/resolv.conf", "blue")


def test_configuration_is_fresh_for_a_few_seconds() -> None:
    clock = Clock()
    kept = Configurations(clock=clock)
    assert kept.fresh() is None
    stored = kept.store(Files())
    clock.now_s += KEEP_S - 0.01
    assert kept.fresh() is stored
    clock.now_s += 0.01
    assert kept.fresh() is None


def test_same_texts_are_not_read_again() -> None:
    kept = Configurations()
    first = kept.store(Files())
    assert kept.store(Files()) is first
    changed: Configuration = kept.store(Files(resolv_conf="nameserver 10.0.0.2\n"))
    assert [str(server) for server in changed.settings.servers] == ["10.0.0.2"]
    assert kept.fresh() is changed
