"""bash, zsh and fish offer the commands and options of nsbrokerd's parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsbrokerd.commands.main import COMMANDS, build_parser
from nsbrokerd.policy.kinds import KINDS
from support.tool.shells import Shell

PARSER = build_parser(COMMANDS)
[SUBPARSERS] = [action for action in PARSER._actions if isinstance(action, argparse._SubParsersAction)]
HELP = {"-h", "--help"}


@pytest.fixture(scope="module", params=["bash", "zsh", "fish"])
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell for which nsbrokerd is in PATH."""
    directory: Path = tmp_path_factory.mktemp(request.param)
    (directory / "nsbrokerd").write_text("#!/bin/sh\n")
    (directory / "nsbrokerd").chmod(0o755)
    (directory / "some.toml").touch()
    with Shell(request.param, directory, {}, "nsbrokerd") as shell:
        yield shell


def options(shell: Shell, line: str) -> set[str]:
    """Return the offered options. "-" is, for zsh, the name of a command."""
    return {word.rstrip("=") for word in shell.complete(line)} - HELP - {"-"}


def known_to(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings} - HELP


def test_options_before_the_command_are_the_parsers(shell: Shell) -> None:
    assert options(shell, "nsbrokerd -") == known_to(PARSER)


def test_commands_are_the_parsers(shell: Shell) -> None:
    assert sorted(shell.complete("nsbrokerd ")) == sorted(COMMANDS)
    assert shell.complete("nsbrokerd rev") == ["revoke"]


@pytest.mark.parametrize("command", COMMANDS)
def test_options_of_each_command_are_the_parsers(shell: Shell, command: str) -> None:
    assert options(shell, f"nsbrokerd {command} -") == known_to(SUBPARSERS.choices[command])
    assert HELP & set(shell.complete(f"nsbrokerd {command} --h"))


def test_namespaces_and_kinds_of_explain(shell: Shell) -> None:
    assert {"@host", "@own"} <= set(shell.complete("nsbrokerd explain --user root "))
    assert sorted(shell.complete("nsbrokerd explain --user root blue ")) == sorted(KINDS)
    assert shell.complete("nsbrokerd explain @host netlink:ro") == ["netlink:route"]


def test_values_of_options(shell: Shell) -> None:
    assert "@host" in shell.complete("nsbrokerd revoke --namespace ")
    assert shell.complete("nsbrokerd revoke --user roo") == ["root"]
