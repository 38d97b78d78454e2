"""A line of the log is one line, whatever its values are: as JSON, and on a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator

import pytest
import structlog

from nsbrokerd.service.line_quota import ABOUT_NO_CLIENT
from nsbrokerd.service.log import set_up_log

HOSTILE = 'x\n\x1b[2J\u202e"reload failed"\r\x07\x9b'


@pytest.fixture
def read_log(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Callable[[], str]]:
    """Log to a pipe, which can claim to be a terminal. Yield a function that returns the text so far."""
    reader, writer = os.pipe()
    monkeypatch.setattr("nsbrokerd.service.log._STDERR", writer)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: request.param, raising=False)
    set_up_log("info")
    yield lambda: os.read(reader, 65536).decode()
    structlog.reset_defaults()
    os.close(reader)
    os.close(writer)


def write(value: str) -> None:
    # The library quotes values with spaces by itself, and others not.
    further = "".join(value.split()).replace('"', "")
    structlog.get_logger(**{ABOUT_NO_CLIENT: True}).info("an event", reason=value, further=further)


@pytest.mark.parametrize("read_log", [False], indirect=True)
def test_json_escapes_all_that_is_not_ascii(read_log: Callable[[], str]) -> None:
    write(HOSTILE)
    text = read_log()
    assert text.isascii()
    assert text[:-1].isprintable()
    assert json.loads(text)["reason"] == HOSTILE


@pytest.mark.parametrize("read_log", [True], indirect=True)
def test_terminal_gets_no_control_characters_of_values(read_log: Callable[[], str]) -> None:
    """The log's own colours are escapes, too."""
    write(HOSTILE)
    text = read_log()
    assert text.count("\n") == 1
    assert not any(character in text for character in ("\x1b[2J", "\u202e", "\r", "\x07", "\x9b"))
    assert "\\u202e" in text
