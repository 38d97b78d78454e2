"""deploy/docs/security.md says as much as the code, the unit and the manual page do."""

from __future__ import annotations

import re

from nsbrokerd.sockets.capabilities import DAC_OVERRIDE, KEPT
from support.checkout import CHECKOUT, DEPLOY
from support.documents import links

SECURITY = DEPLOY / "docs" / "security.md"
TEXT = SECURITY.read_text()


def section(heading: str) -> str:
    """Return the text of a section."""
    return TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_each_capability_that_the_broker_keeps_has_a_purpose() -> None:
    """The unit and the manual page name the same ones."""
    assert DAC_OVERRIDE == 1
    rows = dict(re.findall(r"^\| (CAP_\w+) \| (.+) \|$", section("Capabilities"), re.MULTILINE))
    assert rows.keys() == {*KEPT, "CAP_DAC_OVERRIDE"}
    assert all(purpose.startswith(("to ", "the same ")) for purpose in rows.values())
    manual = (DEPLOY / "man" / "nsbrokerd.8").read_text().partition(".Sh SECURITY CONSIDERATIONS")[2]
    items = re.findall(r"^\.It Dv (CAP_.*)$", manual, re.MULTILINE)
    assert {name for item in items for name in re.findall(r"CAP_\w+", item)} == rows.keys()


def test_first_table_leads_to_every_section() -> None:
    headings = re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
    table = TEXT.partition("\n## ")[0]
    led_to = re.findall(r"\[([^\]]+)\]\(#", table)
    assert [heading for heading in headings if heading not in led_to] == ["How it differs from other tools"]
    assert set(led_to) <= set(headings)


def test_hole_is_reported_as_the_repository_says() -> None:
    """By its private form alone, since there is no address to write to."""
    policy = CHECKOUT / ".github" / "SECURITY.md"
    assert any((SECURITY.parent / link).resolve() == policy for link in links(SECURITY))
    for step in ('choose "Security", then "Report a vulnerability"', "not open a public issue"):
        for text in (section("Report a hole"), policy.read_text()):
            assert step in re.sub(r"\s+", " ", text)
