"""Marks tell our own files from others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nsbrokerd.setup.marked_text import is_unchanged, mark

TEXTS = st.text(st.characters(blacklist_categories=["Cs"]) | st.just("\n"))


@given(TEXTS)
def test_marked_text_is_ours(text: str) -> None:
    assert is_unchanged(mark(text, "install"))


@given(TEXTS, TEXTS)
def test_every_change_makes_it_someone_elses(text: str, other: str) -> None:
    marked = mark(text, "install")
    first, newline, rest = marked.partition("\n")
    assert not is_unchanged(text)
    assert is_unchanged(first + newline + other) == (other == rest)
    assert not is_unchanged(other + "#" + marked)
