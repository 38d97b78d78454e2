"""The status for people: every part has its line, and no name controls the terminal."""

from __future__ import annotations

import pytest

from nsbrokerd.commands.status import describe, duration
from support.status import STATUS

EXPECTED = """\
nsbrokerd  1.2.3, pid 4711, up 1 d 02:03:04
policy     /etc/nsbroker/nsbrokerd.toml, grants: 2, in force since 2023-11-15T00:00:00Z
reload     failed at 2023-11-15T00:00:01Z: a mistake
limits     walls: both
FAULT      the last reload: failed: a mistake
engine     podman: no answer to the last question, asked: 5, failed: 2; podman did not answer
engine     docker: not asked yet, asked: 0, failed: 0
clients    3, of 2 users
requests   answered: open 7, namespaces 1; refused: 4

USED    OF      QUOTA             MOST BY
   2  1024  0%  clients_per_user  root
   0   100  0%  bytes of answers

SOCKETS  USER      GRANT     NAMESPACE
      6  root      web "1"   blue
      1  (others)  (others)  (others)

REFUSALS  USER  REASON  GRANT
       4  root  denied  -
"""


def test_every_part_has_its_line() -> None:
    assert describe(STATUS) == EXPECTED


def test_names_control_no_terminal() -> None:
    row = {"uid": 0, "grant": "g", "namespace": "a\x1b[2J\u202e", "count": 1}
    text = describe({**STATUS, "sockets": [row], "faults": {"x": "a\x1b\n"}})
    assert all(line.isprintable() for line in text.splitlines())
    assert "a?[2J?" in text


def test_long_tables_are_cut_for_people() -> None:
    row = {"uid": 0, "grant": "g", "namespace": "blue", "count": 1}
    assert "... and 8 more: see --json" in describe({**STATUS, "sockets": [row] * 20})


@pytest.mark.parametrize(("seconds", "text"), [(0, "00:00:00"), (3661, "01:01:01"), (86400, "1 d 00:00:00")])
def test_time_spans(seconds: int, text: str) -> None:
    assert duration(seconds) == text
