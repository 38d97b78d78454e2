"""nsswitch.conf is read as glibc reads it, and no content is an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsbroker.names.files.nsswitch import DEFAULT, Source, parse

ALL = frozenset({"SUCCESS", "NOTFOUND", "UNAVAIL", "TRYAGAIN"})
WORDS = st.sampled_from(["hosts:", "files", "dns", "[", "]", "NOTFOUND=return", "!", "=", "UNAVAIL", "#"])


def names(text: str) -> list[str]:
    return [source.name for source in parse(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hosts: files dns\n", ["files", "dns"]),
        ("hosts:dns", ["dns"]),
        (" hosts \t files\n", ["files"]),
        ("hosts:\n", []),
        ("hosts: dns\nhosts: files\n", ["files"]),
        ("#hosts: dns\npasswd: files\nhostsx: dns\n", ["files", "dns"]),
        ("hosts: files mdns4_minimal [NOTFOUND=return] dns\n", ["files", "mdns4_minimal", "dns"]),
    ],
)
def test_sources_are_those_of_the_last_line(text: str, expected: list[str]) -> None:
    assert names(text) == expected
    assert names("") == [source.name for source in DEFAULT]


@pytest.mark.parametrize(
    ("actions", "last_after"),
    [
        ("", {"SUCCESS"}),
        ("[NOTFOUND=return]", {"SUCCESS", "NOTFOUND"}),
        ("[ notfound = RETURN SUCCESS=continue ]", {"NOTFOUND"}),
        ("[!UNAVAIL=return]", ALL - {"UNAVAIL"}),
        ("[!NOTFOUND=continue]", set()),
        ("[SUCCESS=merge]", set()),
    ],
)
def test_actions_say_after_which_results_no_other_source_is_asked(actions: str, last_after: set[str]) -> None:
    assert parse(f"hosts: files {actions} dns\n") == (Source("files", frozenset(last_after)), Source("dns"))


@pytest.mark.parametrize("actions", ["[NOTFOUND=nope]", "[nope=return]", "[NOTFOUND]", "[]", "[NOTFOUND=return"])
def test_line_with_invalid_actions_names_no_source(actions: str) -> None:
    assert names(f"hosts: files {actions} dns\n") == []


@given(st.lists(st.lists(WORDS | st.text(max_size=4), max_size=6).map(" ".join), max_size=4).map("\n".join))
def test_any_text_is_read(text: str) -> None:
    parse(text)
