"""The manual pages name the verbs, options and keys that there are, and are sound mdoc."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess

import pytest

from nsbrokerd.commands.main import COMMANDS, build_parser
from nsbrokerd.config import parse_config
from nsbrokerd.policy.kinds import KINDS
from support.checkout import DEPLOY
from support.everybody import Everybody
from support.tool.verbs import GENERAL, VERBS

EXAMPLE = DEPLOY / "nsbrokerd.toml"
MAN = DEPLOY / "man"
PAGES = sorted(page.name for page in MAN.iterdir())


def sections(page: str) -> dict[str, str]:
    """Return the parts of a page by their headings. The text before the first subsection belongs to DESCRIPTION."""
    parts = re.split(r"^\.S[hs] (.*)$", (MAN / page).read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def options(text: str) -> dict[str, bool]:
    """The options that a part explains, and whether with a value: lines like ".It Fl h , Fl -help"."""
    found = {}
    for item in re.findall(r"^\.It (Fl .*)$", text, re.MULTILINE):
        found |= {f"-{name}": " Ar " in item for name in re.findall(r"Fl (\S+)", item)}
    return found


def keys(text: str) -> set[str]:
    return set(re.findall(r"^\.It Ic (\w+)$", text, re.MULTILINE))


def literals(text: str) -> str:
    """The display with examples."""
    found = re.search(r"^\.Bd -literal\n(.*?)^\.Ed$", text, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def test_tool_has_its_verbs_and_options() -> None:
    page = sections("nsbroker-get.1")
    assert set(VERBS) == set(re.findall(r"^\.(?:Op )?Cm (\w+)$", page["SYNOPSIS"], re.MULTILINE))
    assert options(page["DESCRIPTION"]) == GENERAL
    for verb, known in VERBS.items():
        assert options(page[verb]) == known, verb


def test_tool_is_shown_at_work_by_every_verb() -> None:
    examples = literals(sections("nsbroker-get.1")["EXAMPLES"])
    for verb in VERBS:
        assert re.search(rf"^.*nsbroker-get (\S+ )?{verb}\b", examples, re.MULTILINE), verb


def test_daemon_has_its_commands_and_options() -> None:
    page = sections("nsbrokerd.8")
    parser = build_parser(COMMANDS)
    [commands] = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    assert set(commands.choices) == set(re.findall(r"^\.Cm (\w+)$", page["SYNOPSIS"], re.MULTILINE))
    assert options(page["DESCRIPTION"]) == known_to(parser)
    for name, command in commands.choices.items():
        assert options(page[name]) | HELP == known_to(command), name


HELP = {"-h": False, "--help": False}


def known_to(parser: argparse.ArgumentParser) -> dict[str, bool]:
    """Return the options of a parser, and whether each takes a value."""
    return {option: action.nargs != 0 for action in parser._actions for option in action.option_strings}


def test_configuration_has_the_keys_of_the_example() -> None:
    """Which is held against the parser by a test of its own."""
    page = sections("nsbrokerd.toml.5")
    parts = re.split(r"^(?:# )?(\[+\w+\]+)$", EXAMPLE.read_text(), flags=re.MULTILINE)
    expected: dict[str, set[str]] = {}
    for section, text in zip(parts[1::2], parts[2::2], strict=True):
        expected.setdefault(section, set()).update(re.findall(r"^(?:# )?(\w+) = ", text, re.MULTILINE))
    assert {section: keys(page[section]) for section in expected} == expected
    assert {heading for heading in page if heading.startswith("[")} == set(expected)


def test_example_of_the_configuration_is_valid() -> None:
    """And is one grant with every key."""
    text = literals(sections("nsbrokerd.toml.5")["EXAMPLES"])
    assert [grant.name for grant in parse_config(("example", text), [], Everybody()).policy.grants]
    assert set(re.findall(r"^(\w+)", text, re.MULTILINE)) == keys(sections("nsbrokerd.toml.5")["[[grant]]"])


def test_configuration_has_every_kind_of_socket() -> None:
    found = re.search(r"^\.It Ic sockets\n(.*?)^\.It", (MAN / "nsbrokerd.toml.5").read_text(), re.MULTILINE | re.DOTALL)
    assert found
    plain, raw, netlink = re.split(r"^\.No (?:raw|netlink).*$", found[1], flags=re.MULTILINE)
    for kind in KINDS:
        prefix, _, name = kind.rpartition(":")
        text = {"": plain, "raw": raw, "netlink": netlink}[prefix]
        assert re.search(rf"\b{name}\b", text), kind


@pytest.mark.parametrize("page", PAGES)
def test_page_is_sound(page: str) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("there is no mandoc")
    command = ["mandoc", "-T", "lint", "-W", "warning", MAN / page]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("page", PAGES)
def test_page_can_be_read(page: str) -> None:
    if shutil.which("man") is None:
        pytest.skip("there is no man")
    shown = subprocess.run(["man", "-l", MAN / page], capture_output=True, text=True, check=True).stdout
    assert re.sub(".\b", "", shown).startswith(page.rpartition(".")[0].upper())


def test_pages_refer_to_each_other() -> None:
    for page in PAGES:
        name, _, section = page.rpartition(".")
        others = [other for other in PAGES if other != page]
        assert all(f".Xr {name} {section}" in (MAN / other).read_text() for other in others)
