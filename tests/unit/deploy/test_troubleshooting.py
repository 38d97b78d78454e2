"""The tables of troubleshooting.md: each message is one of the code's, and each command exists."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from nsbrokerd.commands.main import COMMANDS
from support.checkout import CHECKOUT
from support.tool.verbs import VERBS

PAGE = (CHECKOUT / "deploy/docs/troubleshooting.md").read_text()
ROWS = re.findall(r"^\| (`.*) \| (.*) \| ?(.*?) ?\|$", PAGE, re.MULTILINE)
_PART = r"(?:PATH|NAME|N|KIND|ADDRESS|OPTION|REASON)"
"""A word that stands for a part that differs. `NSBROKER_SOCKET` and `/proc/PID` are themselves."""
_HOLE = "\0"


@cache
def texts() -> str:
    """Every text in the code of both packages. A value in a text is a hole."""
    found = []
    for package in ("client/nsbroker", "broker/nsbrokerd"):
        for path in sorted((CHECKOUT / package).rglob("*.py")):
            found += [_text(node) for node in ast.walk(ast.parse(path.read_text()))]
    return "\n".join(text for text in found if text)


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(value) if isinstance(value, ast.Constant) else _HOLE for value in node.values)
    return ""


def is_in_code(message: str) -> bool:
    """Whether texts of the code contain this message. Capitals are holes in a text, and dots are between two texts."""
    pieces = [_HOLE.join(re.split(rf"(?<![\w/=]){_PART}(?![\w/=])", piece)) for piece in message.split(" ... ")]
    return all(piece in texts() for piece in pieces)


def test_there_are_rows() -> None:
    assert len(ROWS) > 40
    lines = [line for line in PAGE.splitlines() if line.startswith("|") and not line.startswith(("|---", "| message"))]
    assert len(lines) == len(ROWS)


@pytest.mark.parametrize("message", [row[0].strip("`") for row in ROWS])
def test_message_is_one_of_the_codes(message: str) -> None:
    assert is_in_code(message), message


@pytest.mark.parametrize("message", ["no broker here", "unknown key: dance", "there is no town NAME"])
def test_other_messages_are_not(message: str) -> None:
    assert not is_in_code(message)


COMMANDS_OF_ROWS = [command for row in ROWS for command in re.findall(r"`([^`]+)`", row[2])]


@pytest.mark.parametrize("command", [one for one in COMMANDS_OF_ROWS if one.startswith("nsbroker")])
def test_command_exists(command: str) -> None:
    """Options are in the manual pages, as other tests check."""
    tool, *words = command.split()
    if tool == "nsbrokerd":
        assert words[0] in COMMANDS
    else:
        assert {*words} & {*VERBS, "list", "--wait", "--version"}
    page = (CHECKOUT / f"deploy/man/{tool}.{8 if tool == 'nsbrokerd' else 1}").read_text()
    for option in (word.lstrip("-") for word in words if word.startswith("--")):
        assert f"Fl -{option}" in page
