"""The file of a grant: its name is safe, and its text is the grant that was asked for."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nsbrokerd.config import Config, parse_config
from nsbrokerd.setup.grant_file import Wish, check, file_name, grant_name, text_of
from nsbrokerd.setup.marked_text import is_unchanged
from support.everybody import Everybody

PRINTABLE = st.text(min_size=1, max_size=300).filter(str.isprintable)
ANY = st.text(min_size=1, max_size=300)


def load(text: str) -> Config:
    return parse_config(("nsbrokerd.toml", text), [], Everybody())


@given(ANY, ANY)
@example("..", "/")
@example("x" * 300, "\udcff" * 300)
def test_name_leads_nowhere_else(user: str, namespace: str) -> None:
    name = file_name(user, namespace)
    assert re.fullmatch(r"[A-Za-z0-9_%-]+\+[A-Za-z0-9_%-]+\.toml", name)
    assert len(name) <= 255


@given(ANY, ANY, ANY, ANY)
@example("a+b", "c", "a", "b+c")
@example("a" * 299 + "b", "c", "a" * 299 + "c", "c")
def test_each_pair_has_a_name_of_its_own(user: str, namespace: str, other: str, another: str) -> None:
    assert (file_name(user, namespace) == file_name(other, another)) == ((user, namespace) == (other, another))


@given(PRINTABLE, PRINTABLE.filter(lambda text: "/" not in text and text[0] not in "!@"))
@example('"', "\\")
@example("]", '", "*')
def test_text_is_the_grant_and_nothing_else(user: str, namespace: str) -> None:
    wish = Wish(user, namespace, ("tcp",), ("*:80",), ("mark=0x10",), ("10.0.0.0/8:443",))
    check(wish)
    assert is_unchanged(text_of(wish))
    [grant] = load(text_of(wish)).policy.grants
    assert grant.name == grant_name(user, namespace)
    assert grant.namespaces.texts == (namespace,)
    assert grant.kinds == {"tcp"}
    assert [rule.text for rule in grant.bind] == ["*:80"]
    assert [rule.text for rule in grant.options] == ["mark=0x10"]
    assert grant.limit is not None
    assert [rule.text for rule in grant.limit.connect or ()][:1] == ["10.0.0.0/8:443"]
    assert grant.limit.bind is None


def test_grant_without_limit_has_none() -> None:
    [grant] = load(text_of(Wish("alice", "blue"))).policy.grants
    assert (grant.limit, grant.kinds) == (None, {"tcp", "udp"})


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        (Wish("alice", "blue", ("tpc",)), "'tpc' is not a kind of socket: did you mean 'tcp'?"),
        (Wish("alice", "blue", ("",)), "'' is not a kind of socket: use some of "),
        (Wish("alice", "!blue"), "'!blue' only takes namespaces away"),
        (Wish("alice", "a/b"), "'a/b' is not a name or pattern of a namespace"),
        (Wish("alice", "@hots"), "'@hots' is not a special namespace"),
        (Wish("alice", "blue\n[[grant]]"), "has characters that can't be printed"),
        (Wish("alice", "blue", bind=("80",)), "'80' is not ADDRESS:PORT"),
        (Wish("alice", "blue", connect=("10.0.0.1/8:1",)), "10.0.0.1/8"),
        (Wish("alice", "blue", options=("marc=1",)), "'marc=1'"),
    ],
)
def test_bad_grant_is_refused_with_its_value(wish: Wish, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        check(wish)
