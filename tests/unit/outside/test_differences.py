from __future__ import annotations

import pytest

from outside.differences import REASONS, Reason, differences, matches, outdated, read_reasons
from outside.inside.steps import IMPORT
from outside.suites import ALL
from outside.trial import Outcome

PASSED, FAILED = Outcome("passed"), Outcome("failed", "Traceback")
LISTED = Reason(("patch",), "test_socket", ("A.test", "B.*"), "It is so.")


def test_a_test_that_passes_only_natively_is_a_difference():
    native = {"A.test": PASSED, "C.test": PASSED, "D.test": PASSED, "E.test": FAILED}
    ours = {"A.test": FAILED, "C.test": PASSED, "E.test": FAILED}
    found = differences(native, ours, "patch", "test_socket", [LISTED])
    assert [(one.test, one.outcome.word, one.reason) for one in found] == [
        ("A.test", "failed", LISTED),
        ("D.test", "not run", None),
    ]


@pytest.mark.parametrize(("way", "part"), [("run", "test_socket"), ("patch", "test_ssl")])
def test_a_reason_is_for_its_way_and_part(way, part):
    [found] = differences({"A.test": PASSED}, {}, way, part, [LISTED])
    assert found.reason is None


def test_a_listed_test_that_does_not_differ_is_outdated():
    found = differences({"B.one": PASSED}, {}, "patch", "test_socket", [LISTED])
    assert outdated(found, "patch", "test_socket", [LISTED]) == ["A.test"]
    assert outdated([], "patch", "test_ssl", [LISTED]) == []


def test_a_difference_of_some_runs_is_never_outdated():
    sometimes = Reason(("patch",), "test_socket", ("A.test",), "It is so.", sometimes=True)
    assert outdated([], "patch", "test_socket", [sometimes]) == []


def test_suite_that_can_not_be_loaded_is_one_difference():
    native = {IMPORT: PASSED, "A.test": PASSED}
    assert [one.test for one in differences(native, {IMPORT: FAILED}, "patch", "test_socket", [LISTED])] == [IMPORT]


def test_only_a_final_star_stands_for_more():
    assert matches("A.*", "A.test")
    assert not matches("A.", "A.test")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('ways = []\npart = ""\ntests = []', "an entry has no reason"),
        ('ways = []\npart = ""\ntests = []\nreason = ""\nwhy = ""', "an entry has an unknown key why"),
    ],
)
def test_a_wrong_entry_is_refused(tmp_path, entry, message):
    (tmp_path / "suite.toml").write_text(f"[[difference]]\n{entry}\n")
    with pytest.raises(ValueError, match=message):
        read_reasons("suite", tmp_path)


def test_a_reason_can_be_for_some_versions_of_python(tmp_path):
    entry = '[[difference]]\nways = ["patch"]\npart = "p"\ntests = ["t"]\nreason = "It is so."\npython = ["2.7"]\n'
    (tmp_path / "suite.toml").write_text(entry)
    assert read_reasons("suite", tmp_path) == []


def test_each_file_of_reasons_belongs_to_a_suite():
    """And each entry names ways of it."""
    for path in REASONS.glob("*.toml"):
        for reason in read_reasons(path.stem):
            assert set(reason.ways) <= set(ALL[path.stem].ways)
