"""The soak finds a wrong namespace, a policy that does not hold, a fault and a growth, and draws its figures."""

from __future__ import annotations

import json
import re
import statistics
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from support.checkout import TESTS

RESULTS = TESTS / "bench/results"


@pytest.fixture(autouse=True)
def _bench_on_the_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(TESTS / "bench"))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] in ("soak", "plot", "machine")]:
        sys.modules.pop(name)


class TestSightsOfNamespacesThatComeAndGo:
    @pytest.mark.parametrize(
        ("cookie", "asked", "had", "is_right"),
        [
            (7, 11, 12, True),
            (7, 9, 10, True),  # it came into being during the request
            (7, 20, 21, True),  # it was deleted during the request
            (7, 8, 9, False),
            (7, 21, 22, False),
            (8, 11, 12, False),
        ],
    )
    def test_socket_is_right_if_its_namespace_had_the_name_during_the_request(
        self, tmp_path: Path, cookie: int, asked: float, had: float, is_right: bool
    ) -> None:
        """Also after the sight was moved to a file."""
        from soak.sights import Generation, Sights

        sights, read = Sights(), Sights()
        sights.add("blue", cookie, asked, had)
        sights.move_to(tmp_path / "sights")
        read.take_from(tmp_path / "sights")
        assert not list(sights.wrong({}))
        found = list(read.wrong({"blue": [Generation(7, 10, 20)]}))
        assert found == (
            [] if is_right else [f"a socket of blue was in the namespace {cookie}, which did not have this name then"]
        )

    def test_one_wrong_socket_among_many_is_found(self) -> None:
        from soak.sights import Generation, Sights

        sights = Sights()
        for asked in (12, 25, 14):
            sights.add("blue", 7, asked, asked + 1)
        assert len(list(sights.wrong({"blue": [Generation(7, 10, 20)]}))) == 1


@pytest.mark.parametrize(
    ("before", "after", "policy"),
    [(0, 0, 0), (2, 2, 1), (4, 4, 0), (0, 1, None), (1, 1, None), (1, 2, None), (0, 4, None)],
)
def test_policy_is_known_only_if_it_did_not_change_during_the_call(before: int, after: int, policy: int | None) -> None:
    from soak.told import policy_of

    assert policy_of(before, after, 2) == policy


def test_turns_of_the_policy_are_those_of_the_configuration() -> None:
    """One rule comes and another goes, so that each reload changes both."""
    from soak.policy import POLICIES, SECOND_PORT, TURNED

    texts = [policy.grants(has_containers=True) for policy in POLICIES]
    granted = [TURNED in text for text in texts]
    reached = [f":{SECOND_PORT}" in text for text in texts]
    assert granted == [policy.has_turned for policy in POLICIES] == [True, False]
    assert reached == [policy.has_second_port for policy in POLICIES] == [False, True]


@pytest.mark.parametrize("has_containers", [True, False])
def test_policy_is_one_that_a_broker_takes(has_containers: bool) -> None:
    """Without a podman, no grant may name containers."""
    from soak.policy import POLICIES

    for policy in POLICIES:
        grants = tomllib.loads(policy.grants(has_containers=has_containers))["grant"]
        assert ("containers" in [grant["name"] for grant in grants]) is has_containers
        assert [grant["name"] for grant in grants if "limit" in grant] == ["limited"]


class TestClient:
    def test_failed_call_is_lost_and_the_client_goes_on(self, tmp_path: Path) -> None:
        """Until it is told to end."""
        from soak.told import Tally, Told, live

        told, tally, calls = Told(1, tmp_path), Tally({}, [], []), []

        def act() -> None:
            calls.append(None)
            if len(calls) == 1:
                raise ConnectionResetError("gone")
            told.end()

        live(told, 0, tally, act, lambda: None, 0)
        assert len(calls) == 2
        assert tally.lost == ["client 0: ConnectionResetError('gone')"]
        assert tally.counts == {"calls": 2}

    def test_judge_knows_the_namespaces_that_must_be_there(self, tmp_path: Path) -> None:
        import nsbroker
        from soak.judge import Judge
        from soak.told import Told

        judge = Judge(0, 3, {"blue": 7}, Told(1, tmp_path))
        judge.was_not_found(nsbroker.NamespaceNotFoundError(2, "gone"), "volatile")
        assert not judge.tally.wrong
        judge.was_not_found(nsbroker.NamespaceNotFoundError(2, "gone"), "blue")
        assert judge.tally.wrong == ["client 3: blue was not found: [Errno 2] gone"]


def test_latency_is_that_of_the_slow_ones_too() -> None:
    from soak.calm import latency_of

    assert latency_of([*[0.001] * 90, *[0.002] * 8, 0.5, 1.0]) == (100, 1.0, 1000.0, 1000.0)
    assert latency_of([0.002]) == (1, 2.0, 2.0, 2.0)


class TestGrowth:
    @pytest.mark.parametrize(
        ("values", "growth", "grew"),
        [
            ([30, 31, 31, 31, 31, 31, 31, 31], 0, False),
            ([30, 31, 31, 31, 31, 31, 33, 33], 1, True),
            ([30, 31, 31, 31, 31, 31, 32, 32], 1, False),
            ([90, 31, 31, 31, 31, 31, 32, 32], 0, True),  # the first look does not count
            ([31], 0, False),
        ],
    )
    def test_end_is_compared_with_the_beginning(self, values: list[float], growth: float, grew: bool) -> None:
        from soak.looks import verdict

        assert verdict("x", values, growth).grew is grew

    def test_broker_is_judged_by_its_last_life(self) -> None:
        """The figures of a process that has ended say nothing about a leak."""
        from soak.looks import verdicts

        before = [look(life=1, broker_mb=90.0)] * 8
        rising = [look(life=2, broker_mb=40.0 + minute) for minute in range(12)]
        flat = [look(life=2, broker_mb=40.0)] * 12
        assert [one.what for one in verdicts([*before, *rising]) if one.grew] == ["memory of the broker (MB)"]
        assert not any(one.grew for one in verdicts([*before, *flat]))

    def test_one_descriptor_of_a_client_too_many_is_a_growth(self) -> None:
        from soak.looks import verdicts

        rising = [look(clients_fds=100 + (minute > 7)) for minute in range(12)]
        assert [one.what for one in verdicts(rising) if one.grew] == ["descriptors of the clients"]


def look(**changes: Any) -> Any:
    from soak.looks import Look

    zeros = dict.fromkeys(Look._fields, 0)
    return Look(**{**zeros, "minute": 1.0, **changes})


def outcome(**changes: Any) -> Any:
    from soak.looks import verdicts
    from soak.report import Outcome

    looks = [look(minute=float(minute), life=minute > 2, median_ms=minute * 0.5) for minute in range(1, 5)]
    fields = {
        "seconds": 240, "counts": {"sockets": 1234}, "changes": {}, "steps": {}, "wrong": [], "lost": [],
        "looks": looks, "verdicts": verdicts(looks), "lacking": [],
    }  # fmt: skip
    return Outcome(**{**fields, **changes})


def test_anything_wrong_or_lost_or_grown_fails_the_soak(capsys: pytest.CaptureFixture[str]) -> None:
    from soak.looks import verdict
    from soak.report import show

    assert outcome().is_right
    grown = verdict("x", [1, 1, 5, 9], 0)
    for changes in ({"wrong": ["a text"]}, {"lost": ["a text"]}, {"verdicts": [grown]}):
        failed = outcome(**changes)
        assert not failed.is_right
        show(failed)
        shown = capsys.readouterr().out
        assert shown.endswith("NOT all is right\n")
        assert "a text" in shown or "x: 1.0 at the beginning, 9.0 at the end, 1.0 .. 9.0: GREW" in shown


def curves_of(svg: str) -> list[list[tuple[float, float]]]:
    root = ElementTree.fromstring(svg)
    lines = [each for each in root.iter() if each.tag.endswith("polyline")]
    return [[tuple(map(float, point.split(","))) for point in str(line.get("points")).split()] for line in lines]  # type: ignore[misc]


def test_curves_rise_as_their_figures(tmp_path: Path) -> None:
    """All begin at zero. The written files say the same."""
    from soak.curves import CURVES
    from soak.report import write

    write(outcome(), tmp_path)
    svg = (tmp_path / "soak.svg").read_text()
    curves = curves_of(svg)
    assert len(curves) == len(CURVES)
    median = curves[[curve.key for curve in CURVES].index("median_ms")]
    heights = [median[0][1] - y for _, y in median]
    assert heights == pytest.approx([heights[1] * minute for minute in range(4)], abs=0.2)
    assert "1,234 sockets; 0 wrong, 0 lost" in svg
    assert json.loads((tmp_path / "soak.json").read_text())["looks"][0]["median_ms"] == 0.5
    assert "| **wrong** | 0 |" in (tmp_path / "soak.md").read_text()


def test_published_curves_and_figures_are_those_of_the_published_soak() -> None:
    from soak.curves import as_svg
    from soak.report import as_table

    soak = json.loads((RESULTS / "soak.json").read_text())
    assert as_svg(soak) == (RESULTS / "soak.svg").read_text()
    assert as_table(soak) == (RESULTS / "soak.md").read_text()
    assert (len(soak["wrong"]), len(soak["lost"]), [one["what"] for one in soak["verdicts"] if one["grew"]]) == (
        0,
        0,
        [],
    )


def test_figures_of_the_readme_are_those_of_the_published_soak() -> None:
    soak = json.loads((RESULTS / "soak.json").read_text())
    section = (TESTS / "bench/README.md").read_text().partition("## Soak\n")[2].partition("\n## ")[0]
    counts, looks = soak["counts"], soak["looks"]
    whole = [counts["sockets"], counts["sockets of clients with a stock"], counts["times podman was too slow"]]
    whole += [counts[f"limited sockets that {verb}"] for verb in ("reached their peer", "were refused")]
    whole += [*soak["changes"].values(), len(looks) + 1, len(soak["wrong"]), len(soak["lost"])]
    ends = [(one["what"], one[key]) for one in soak["verdicts"] for key in ("first", "last")]
    figures = [f"{count:,}" for count in whole]
    figures += [f"{size:.1f}" for what, size in ends if what.endswith("(MB)") and "porter" not in what]
    figures += [f"{count:.0f}" for what, count in ends if what.startswith("descriptors")]
    middle = [statistics.median(look[key] for look in looks) for key in ("median_ms", "slow_ms")]
    last_restart = [look["life"] for look in looks].index(looks[-1]["life"])
    parts = looks[: last_restart + 1], looks[last_restart + 1 :]
    figures += [f"{middle[0]:.1f}", f"{middle[1]:.0f}"]
    figures += [f"{max(look['slowest_ms'] for look in part) / 1e3:.1f}" for part in parts]
    figures += [f"{looks[-1]['median_ms']:.2f}", f"{looks[-1]['slow_ms']:.0f}"]
    assert set(figures) <= set(re.findall(r"\d[\d,.]*\d|\d", section))
