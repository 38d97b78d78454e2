"""The line of a key, for messages."""

from __future__ import annotations

import pytest

from nsbrokerd.config.lines import Lines

TEXT = """# a comment
[broker]  # the first table
socket = "/x"

[[grant]]
name = "a"
limit = { connect = [] }
[[ grant ]]
"users" = [
    "alice",
]
[grant.limit]
connect = []
dotted.key = 1
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("broker", 2),
        ("broker.socket", 3),
        ("broker.unknown", 2),
        ("grant[0].name", 6),
        ("grant[0].limit.connect", 7),
        ("grant[1]", 8),
        ("grant[1].users", 9),
        ("grant[1].limit", 12),
        ("grant[1].limit.connect", 13),
        ("grant[1].limit.dotted", 14),
        ("grant[2].name", None),
        ("", None),
    ],
)
def test_line_of_the_key_or_of_the_table_around_it(path: str, line: int | None) -> None:
    assert Lines(TEXT).of(path) == line
