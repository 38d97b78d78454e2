"""Patterns for containers: only a pattern with the engine's word covers a container, and no other pattern does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsbrokerd.policy import Grant, NamespaceRule, Policy
from nsbrokerd.policy.engine_names import ENGINES

PLAIN = st.sampled_from(
    ["*", "web", "web-*", "p*", "podman*", "*:*", "?odman:web", "[p]odman:*", "@host", "@own", "*web"]
)
EXCLUDED = st.sampled_from(["!mgmt", "!other", "!*x"])


@given(st.lists(PLAIN, min_size=1), st.lists(EXCLUDED), st.sampled_from(["podman:web", "podman:web-1", "pod:a.b"]))
def test_pattern_without_an_engine_never_covers_a_container(texts: list[str], excluded: list[str], name: str) -> None:
    assert not NamespaceRule.parse([*texts, *excluded], ENGINES).covers(name)


def test_pattern_of_an_engine_covers_its_containers_alone() -> None:
    rule = NamespaceRule.parse(["podman:web-*", "!podman:web-mgmt", "pod:shop.*", "docker:*"], ENGINES)
    names = ["podman:web-1", "podman:web-mgmt", "podman:db", "pod:shop.web-0", "pod:bank.web-0", "docker:x", "web-1"]
    assert [name for name in names if rule.covers(name)] == ["podman:web-1", "pod:shop.web-0", "docker:x"]


def test_exclusion_of_a_plain_name_excludes_no_container() -> None:
    assert NamespaceRule.parse(["podman:*", "!web"], ENGINES).covers("podman:web")
    assert not NamespaceRule.parse(["*", "!podman:*"], ENGINES).covers("podman:web")


def test_word_of_an_engine_that_is_not_switched_on_is_an_ordinary_name() -> None:
    rule = NamespaceRule.parse(["*"], ["docker"])
    assert rule.covers("podman:web")
    assert rule.covers_entry("podman:web")
    assert not rule.covers("docker:web")


@pytest.mark.parametrize("text", ["podman:web", "!podman:web", "pod:*"])
def test_pattern_of_an_engine_that_is_not_switched_on_is_refused(text: str) -> None:
    engine = text.removeprefix("!").partition(":")[0]
    with pytest.raises(ValueError, match=rf"{engine} = '/run/.*\.sock' to \[engines\], or remove the pattern"):
        NamespaceRule.parse(["blue", text], ["docker"])


@pytest.mark.parametrize("text", ["podman:", "!podman:", "podman:a b", "podman:@own", "pod:a:b"])
def test_pattern_that_matches_no_name_of_its_engine_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="matches no name of pod"):
        NamespaceRule.parse([text], ENGINES)


def test_entry_of_a_directory_never_has_the_name_of_a_container() -> None:
    rule = NamespaceRule.parse(["podman:*", "blue", "podman"], ENGINES)
    assert [name for name in ("podman:web", "blue", "podman") if rule.covers_entry(name)] == ["blue", "podman"]


def test_only_words_that_are_switched_on_are_reserved() -> None:
    policy = Policy((), frozenset({"podman"}))
    names = ["podman:web", "podman:", "podman", "docker:web", "podman-x:web", "Podman:web"]
    assert [name for name in names if policy.is_reserved(name)] == ["podman:web", "podman:"]


def test_rule_says_which_engines_it_can_cover() -> None:
    rule = NamespaceRule.parse(["podman:web", "!docker:x", "blue"], ENGINES)
    assert [engine for engine in ENGINES if rule.covers_some_of(engine)] == ["podman"]
    assert NamespaceRule.parse(["podman:web"], ENGINES).covers_some()
    assert not NamespaceRule.parse(["!podman:web"], ENGINES).covers_some()


def test_grants_of_several_engines_are_matched_by_name() -> None:
    def grant(name: str, *texts: str) -> Grant:
        return Grant(name, None, frozenset(), NamespaceRule.parse(texts, ENGINES), frozenset({"tcp"}))

    grants = (grant("all", "*"), grant("web", "podman:web"), grant("pods", "pod:*"))
    covers = {
        name: [one.name for one in grants if one.namespaces.covers(name)] for name in ("blue", "podman:web", "pod:a.b")
    }
    assert covers == {"blue": ["all"], "podman:web": ["web"], "pod:a.b": ["pods"]}
