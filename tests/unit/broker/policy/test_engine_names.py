"""Names of containers and pods: which texts are such names, and which are refused before an engine is asked."""

from __future__ import annotations

import pytest

from nsbroker.wire.bounds import MAX_NAME_BYTES
from nsbrokerd.policy.engine_names import ENGINES, EngineName, NameError_, parse_engine_name

ROOM = MAX_NAME_BYTES - len("podman:")


@pytest.mark.parametrize(
    ("text", "engine", "name"),
    [
        ("podman:web", "podman", "web"),
        ("docker:Web_1.b-2", "docker", "Web_1.b-2"),
        ("podman:7", "podman", "7"),
        ("podman:" + "a" * ROOM, "podman", "a" * ROOM),
        ("podman:" + "0" * 64, "podman", "0" * 64),
        ("pod:default.web-0", "pod", "default.web-0"),
        ("pod:kube-system.web.example.org", "pod", "kube-system.web.example.org"),
        ("pod:" + "n" * 63 + ".p", "pod", "n" * 63 + ".p"),
    ],
)
def test_legal_name_has_an_engine_and_a_name(text: str, engine: str, name: str) -> None:
    assert parse_engine_name(text, ENGINES) == EngineName(engine, name)
    assert str(EngineName(engine, name)) == text


@pytest.mark.parametrize("text", ["blue", "@host", "", "podman", "tenant:web", "Podman:web", " podman:web", ":web"])
def test_name_without_the_word_of_an_engine_is_a_plain_name(text: str) -> None:
    assert parse_engine_name(text, ENGINES) is None


@pytest.mark.parametrize("text", ["docker:web", "docker:/", "pod:x", "docker:"])
def test_word_of_an_engine_that_is_switched_off_is_not_reserved(text: str) -> None:
    assert parse_engine_name(text, ("podman",)) is None


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "-web", "_web", ".web", "/web", "web/", "../web", "we b", "web\n", "web\0", "we*b", "wéb",
        "web:x", "docker:web", "@host", "web?all=1", "web#", "%77eb", "web\r\nHost: x", "a" * (ROOM + 1), "a" * 300,
    ],
)  # fmt: skip
@pytest.mark.parametrize("engine", ["podman", "docker"])
def test_no_container_has_an_odd_name(engine: str, name: str) -> None:
    with pytest.raises(NameError_, match=rf"no container can have this name: use letters, .* as in {engine}:web, and"):
        parse_engine_name(f"{engine}:{name}", ENGINES)


@pytest.mark.parametrize(
    "name",
    [
        "", "web", ".web", "default.", "default..web", "Default.web", "default.Web", "default/web", "default.-web",
        "default.web-", "-default.web", "default-.web", "de_fault.web", "default.we_b", "default.web\n",
        "n" * 64 + ".web", "default." + "a" * 300,
    ],
)  # fmt: skip
def test_no_pod_has_an_odd_name(name: str) -> None:
    with pytest.raises(NameError_, match=r"no pod can have this name: use NAMESPACE\.NAME of small letters"):
        parse_engine_name(f"pod:{name}", ENGINES)
