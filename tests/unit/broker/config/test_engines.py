"""The table [engines] switches engines on, and a grant can't name others."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsbrokerd.config import Config, ConfigError, parse_config
from nsbrokerd.config.load import ThisHost
from nsbrokerd.namespaces import resolver_files
from nsbrokerd.policy import NamespaceRule
from nsbrokerd.setup.grant_file import Wish, check


class FakeHost:
    """A host with the group nsbroker, that can enforce limits. Each namespace that a rule covers has a name server."""

    def uid(self, _name: str) -> int | None:
        return 1000

    def gid(self, _name: str) -> int | None:
        return 990

    def why_no_seal(self) -> str | None:
        return None

    def why_no_second_wall(self) -> str | None:
        return None

    def name_servers(self, _namespaces: NamespaceRule) -> list[str]:
        return []


def grant(*namespaces: str) -> str:
    texts = ", ".join(f'"{text}"' for text in namespaces)
    return f'[[grant]]\nname = "g"\nusers = ["*"]\nnamespaces = [{texts}]\nsockets = ["tcp"]\n'


def parse(main: str | None, *more: str) -> Config:
    return parse_config(("main.toml", main), [(f"{i}.toml", text) for i, text in enumerate(more)], FakeHost())


def problems(main: str | None, *more: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(main, *more)
    return [str(problem) for problem in caught.value.problems]


def test_engines_are_off_by_default() -> None:
    config = parse("")
    assert (config.engines, config.policy.engines) == ({}, frozenset())


def test_engines_are_switched_on_by_their_sockets() -> None:
    config = parse('[engines]\npodman = "/run/podman/podman.sock"\npod = "/run/c.sock"\n', grant("podman:*", "pod:a.*"))
    assert config.engines == {"podman": "/run/podman/podman.sock", "pod": "/run/c.sock"}
    assert config.policy.engines == {"podman", "pod"}
    assert config.policy.grants[0].namespaces.covers("pod:a.b")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('podmann = "/x"', "main.toml:2: engines.podmann: unknown key: did you mean 'podman'?"),
        ('podman = "run/x"', "main.toml:2: engines.podman: must be an absolute path, not 'run/x'"),
        ('docker = ""', "main.toml:2: engines.docker: must be the path of a socket, like '/run/docker.sock'"),
        ("pod = true", "main.toml:2: engines.pod: must be a string, not True"),
        (f'pod = "/{"x" * 107}"', "has 108 bytes, and a socket's path at most 107: shorten it"),
    ],
)
def test_wrong_engine_is_a_problem(text: str, told: str) -> None:
    [problem] = problems(f"[engines]\n{text}\n")
    assert told in problem


def test_grant_for_an_engine_that_is_off_says_how_to_switch_it_on() -> None:
    [problem, *_] = problems('[engines]\ndocker = "/run/docker.sock"\n', grant("blue", "podman:web"))
    assert problem == (
        "0.toml:4: grant 'g'.namespaces: 'podman:web' is for the engine podman, which is not switched on: "
        "add podman = '/run/podman/podman.sock' to [engines], or remove the pattern"
    )


def test_grants_are_not_blamed_if_the_main_file_can_not_be_read() -> None:
    """It may switch the engine on."""
    assert parse(None, grant("podman:web")).policy.engines


def test_file_of_root_for_a_container_adds_no_name_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit gets the name servers of named namespaces, and never those of a container."""
    for name, server in (("blue", "10.0.0.1"), ("podman:web", "10.0.0.2")):
        (tmp_path / "netns" / name).mkdir(parents=True)
        (tmp_path / "netns" / name / "resolv.conf").write_text(f"nameserver {server}\n")
    (tmp_path / "resolv.conf").write_text("nameserver 10.0.0.3\n")
    monkeypatch.setattr("nsbrokerd.config.load.NameServers", lambda: resolver_files.NameServers(str(tmp_path)))
    rule = NamespaceRule.parse(["blue", "podman:web"], ["podman"])
    assert ThisHost(can_seal=True).name_servers(rule) == ["10.0.0.3", "10.0.0.1"]


def test_grant_command_takes_the_name_of_a_container() -> None:
    """Whether its engine is switched on is checked with the whole configuration."""
    check(Wish("alice", "podman:web", ("tcp",)))
    with pytest.raises(ValueError, match="matches no name of podman"):
        check(Wish("alice", "podman:", ("tcp",)))
