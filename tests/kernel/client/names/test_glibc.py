"""Every look-up has the result that glibc has inside the namespace: by the library, under `patch`, and under `run`.

The namespace is connected to a second one, which has the name server.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support import namespaces
from support.names import dnsmasq
from support.names.lab import Lab
from support.names.odd_server import NAMES
from support.names.scenes import SCENES, about, scene
from support.users import can_start_programs

_UNREADABLE = "other users can't read this package, and patch refuses modules in C that it can't read"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    if reason := namespaces.why_not() or dnsmasq.why_not():
        pytest.skip(reason)
    if not can_start_programs():
        pytest.skip(_UNREADABLE)
    made = Lab(f"{namespaces.PREFIX}glibc", f"{namespaces.PREFIX}server")
    yield made
    made.close()


@pytest.mark.parametrize("title", SCENES)
def test_every_way_has_the_answers_of_glibc(lab: Lab, title: str) -> None:
    lab.expect_one_answer(SCENES[title])


def test_every_way_takes_odd_answers_as_glibc_takes_them() -> None:
    """Response codes, truncation, aliases that lead nowhere, records of other names, and packets that can't be read."""
    if reason := namespaces.why_not():
        pytest.skip(reason)
    if not can_start_programs():
        pytest.skip(_UNREADABLE)
    lab = Lab(f"{namespaces.PREFIX}odd", f"{namespaces.PREFIX}oddserver", odd=True)
    try:
        lab.expect_one_answer(scene(about(*NAMES)))
    finally:
        lab.close()


@pytest.mark.parametrize("title", ["names", "IPv4 first", "labels and scopes", "first line only"])
def test_tool_prints_the_addresses_that_getent_prints_under_run(lab: Lab, title: str) -> None:
    lab.prepare(SCENES[title])
    for host in ("both.test", "near.test", "six-more.test", "host", "localhost", "alias", "fe80::b%2"):
        shown = lab.tool("run", "--", "getent", "ahosts", "--no-addrconfig", host).splitlines()
        expected = [line.split()[0] for line in shown if "STREAM" in line]
        assert [each.replace("%va", "%2") for each in lab.tool("resolve", host).splitlines()] == expected, host
