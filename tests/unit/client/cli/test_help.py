"""nsbroker-get's --help texts name the verbs and options that there are, and can be read without scrolling."""

from __future__ import annotations

import re
import shlex

import pytest

from nsbroker.cli.command import VERBS as AFTER_NAMESPACE
from nsbroker.cli.command import help_text, print_help, read_command
from nsbroker.cli.socket_verb import all_kinds
from support.tool.verbs import GENERAL, VERBS

TEXTS = [None, *VERBS]


def text_of(verb: str | None) -> str:
    return help_text(verb) if verb else help_text()


def documented(text: str) -> dict[str, bool]:
    """The options that a text explains, and whether with a value: lines like "  -h, --help  this text"."""
    found = {}
    for line in re.findall(r"^  (-\S.*)", text, re.MULTILINE):
        names, _, _ = line.partition("  ")
        value = re.search(r" [A-Z][A-Z:]*$", names)
        found |= dict.fromkeys(re.findall(r"--?\w[\w-]*", names), value is not None)
    return found


def examples(text: str) -> list[str]:
    return re.findall(r"^    (nsbroker-get .*)", text, re.MULTILINE)


def test_every_verb_is_one_of_the_parsers() -> None:
    assert set(VERBS) == {*AFTER_NAMESPACE, "list"}


def test_overview_has_every_verb_and_the_options_before_it() -> None:
    text = help_text()
    usage = text.partition("\n\n")[0]
    assert set(VERBS) <= set(re.findall(r"\w+", usage))
    assert documented(text) == GENERAL


@pytest.mark.parametrize("verb", VERBS)
def test_options_are_the_parsers(verb: str) -> None:
    """Those that it explains, and those of its first line."""
    text = text_of(verb)
    assert documented(text) == VERBS[verb]
    usage = text.partition("\n\n")[0].replace(" -- ", " ")
    assert set(re.findall(r"(?<=[ \[|])--?\w[\w-]*", usage)) == set(VERBS[verb])


@pytest.mark.parametrize("verb", TEXTS)
def test_examples_can_be_read_by_the_parser(verb: str | None) -> None:
    lines = examples(text_of(verb))
    assert lines
    for line in lines:
        words = shlex.split(re.split(r"  |[<>|]", line.partition(" ")[2])[0])
        assert verb is None or read_command(words).verb == verb, line


@pytest.mark.parametrize("verb", TEXTS)
def test_text_fits_a_terminal(verb: str | None) -> None:
    assert max(map(len, text_of(verb).splitlines())) <= 120


def test_kinds_of_sockets_are_all_there() -> None:
    """The help lists them in three lines: plain kinds, raw kinds and netlink kinds."""
    text = help_text("socket")
    plain, raw, netlink = (
        re.search(rf"^ +{start} +(.*)$", text, re.MULTILINE) for start in ("--type KIND", "raw:", "netlink:")
    )
    assert plain
    assert raw
    assert netlink
    known = [kind for kind in plain[1].split() if ":" not in kind]
    known += [f"raw:{name}" for name in raw[1].split()] + [f"netlink:{name}" for name in netlink[1].split()]
    assert sorted(known) == sorted(all_kinds())


@pytest.mark.parametrize(
    ("args", "topic"),
    [
        (["--help"], None),
        (["-h", "blue", "connect"], None),
        (["blue", "--help"], None),
        *((["blue", verb, "--help"], verb) for verb in AFTER_NAMESPACE),
        *(([verb, "-h"], verb) for verb in VERBS),
        (["blue", "list", "-h"], "list"),
    ],
)
def test_each_is_printed_when_it_is_asked_for(
    args: list[str], topic: str | None, capfd: pytest.CaptureFixture[str]
) -> None:
    assert print_help(read_command(args)) == 0
    assert capfd.readouterr().out == text_of(topic)
