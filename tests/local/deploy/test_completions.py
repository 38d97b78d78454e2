"""bash, zsh and fish offer the verbs and options of nsbroker-get's parsers, and the broker's namespaces."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsbroker.cli.socket_verb import all_kinds
from support.brokers.fake import fake_broker
from support.tool.shells import Shell
from support.tool.verbs import GENERAL, VERBS

HELP = {"-h", "--help"}


@pytest.fixture(scope="module", params=["bash", "zsh", "fish"])
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell for which nsbroker-get is in PATH, and a broker is there."""
    directory: Path = tmp_path_factory.mktemp(request.param)
    tool = directory / "nsbroker-get"
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m nsbroker.cli "$@"\n')
    tool.chmod(0o755)
    (directory / "some-program").write_text("#!/bin/sh\n")
    (directory / "some-program").chmod(0o755)
    with fake_broker() as broker:
        environment = {"NSBROKER_SOCKET": broker.path, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with Shell(request.param, directory, environment) as shell:
            yield shell


def options(shell: Shell, line: str) -> set[str]:
    """Return the offered options without the option for help and the end of options.

    "-" is, for zsh, the name of a command.
    """
    return {word.rstrip("=") for word in shell.complete(line)} - HELP - {"--", "-"}


def test_options_before_the_verb_are_the_parsers(shell: Shell) -> None:
    assert options(shell, "nsbroker-get -") == set(GENERAL) - HELP


@pytest.mark.parametrize("verb", VERBS)
def test_options_of_each_verb_are_the_parsers(shell: Shell, verb: str) -> None:
    start = "nsbroker-get list" if verb == "list" else f"nsbroker-get --wait 3 blue {verb}"
    assert options(shell, f"{start} -") == set(VERBS[verb])
    assert HELP & set(shell.complete(f"{start} --h"))


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_containers_are_offered_with_their_engine(name: str, tmp_path: Path) -> None:
    """Bash cuts words at a colon, so it needs only the rest of the name."""
    tool = tmp_path / "nsbroker-get"
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m nsbroker.cli "$@"\n')
    tool.chmod(0o755)
    with fake_broker(lambda visit: visit.list_namespaces("podman:web", "podman:db")) as broker:
        environment = {"NSBROKER_SOCKET": broker.path, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with Shell(name, tmp_path, environment) as shell:
            assert sorted(shell.complete("nsbroker-get pod")) == ["podman:db", "podman:web"]
            assert shell.complete("nsbroker-get podman:w") in (["podman:web"], ["web"])


def test_namespaces_are_those_that_the_broker_grants(shell: Shell) -> None:
    """Each once, however many grants it has."""
    assert sorted(shell.complete("nsbroker-get ")) == ["@host", "blue", "list"]
    assert shell.complete("nsbroker-get --timeout 2 b") == ["blue"]
    assert sorted(shell.complete("nsbroker-get list ")) == ["@host", "blue"]


def test_broker_that_was_named_is_asked(shell: Shell) -> None:
    assert shell.complete("nsbroker-get --broker /nowhere ") == ["list"]
    assert shell.complete("nsbroker-get --broker=/nowhere ") == ["list"]


def test_verbs_follow_a_namespace(shell: Shell) -> None:
    assert set(shell.complete("nsbroker-get blue ")) - HELP == {*VERBS, "--"}
    assert shell.complete("nsbroker-get blue re") == ["resolve"]


def test_kinds_of_sockets_are_those_of_the_parser(shell: Shell) -> None:
    assert sorted(shell.complete("nsbroker-get blue socket --type ")) == sorted(all_kinds())
    assert shell.complete("nsbroker-get blue socket --type netlink:ro") == ["netlink:route"]
    assert sorted(shell.complete("nsbroker-get blue explain ")) == sorted([*all_kinds(), "unix"])
    assert shell.complete("nsbroker-get blue explain --mark 1 netlink:ro") == ["netlink:route"]
    assert "unix" not in shell.complete("nsbroker-get blue explain tcp ")
    assert sorted(shell.complete("nsbroker-get blue listen -p ")) == ["mptcp", "sctp", "tcp", "udp", "udplite"]


@pytest.mark.parametrize(
    "start", ["--", "run --", "listen -l 127.0.0.1:80 -l [::]:80 --", "socket --type udp --fd=3 --"]
)
def test_command_and_its_arguments_are_completed_as_without_us(shell: Shell, start: str) -> None:
    assert shell.complete(f"nsbroker-get blue {start} some-pro") == ["some-program"]
    assert shell.complete(f"nsbroker-get blue {start} nsbroker-get blue res") == ["resolve"]
