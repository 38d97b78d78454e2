"""The list of guarantees: each has changes that fit, tests that exist, and its row in the documents."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from mutants.documents import (
    ARCHITECTURE,
    PROMISING,
    SECURITY,
    promise_rows,
    read_sentences,
    read_table,
    row_of,
    update_promises,
    update_table,
)
from mutants.everything import GUARANTEES, named_mutants
from mutants.guarantee import Guarantee, Mutant, UnappliedError
from support.checkout import CHECKOUT

MUTANTS = named_mutants()
HINT = "run: PYTHONPATH=tests python3 -P -m mutants --update-table"


def test_ids_are_short_words_and_no_two_are_alike() -> None:
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+){0,5}", one.id) for one in GUARANTEES)
    assert [name for name, count in Counter(one.id for one in GUARANTEES).items() if count > 1] == []
    assert [one.id for one in GUARANTEES if not one.mutants] == []


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_change_fits_its_file_and_its_tests_are_there(mutant: Mutant) -> None:
    text = (CHECKOUT / mutant.file).read_text()
    assert mutant.changed(text) != text
    assert mutant.tests
    for test in mutant.tests:
        file, _, function = test.partition("::")
        source = (CHECKOUT / file).read_text()
        assert re.search(rf"^(async )?def {re.escape(function.partition('[')[0])}", source, re.MULTILINE)


def test_changed_file_is_a_program_still(tmp_path: Path) -> None:
    """Else a test would fail for another reason than the guarantee that is broken."""
    for name, mutant in MUTANTS.items():
        if mutant.file.endswith(".py"):
            (tmp_path / f"{name.replace('.', '_')}.py").write_text(mutant.changed((CHECKOUT / mutant.file).read_text()))
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", "F82,F63,F7,E9"]
    done = subprocess.run([*command, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_change_that_does_not_fit_is_refused() -> None:
    for text in ("", "old old"):
        with pytest.raises(UnappliedError, match="not once"):
            Mutant("file", "old", "new", ()).changed(text)
    with pytest.raises(UnappliedError, match="no file"):
        Mutant("no/such/file", "old", "new", ()).changed_file(CHECKOUT)


TABLE = """
| id | guarantee | enforced in | guarded by |
|---|---|---|---|
| `g-one` | First. | `former.py` | `test_former.py` |
| `g-gone` | Former. | `former.py` | `test_former.py` |

More about `g-one`.
"""


def test_table_is_brought_up_to_date() -> None:
    """The sentences stay. A guarantee that is gone loses its row, and a new one gets a row without a sentence."""
    mutants = (Mutant("a.py", "old", "new", ("test_a.py::test",)), Mutant("b.py", "old", "new", ("test_b.py",)))
    guarantees = [Guarantee("one", mutants), Guarantee("two", mutants[:1])]
    updated = update_table(TABLE, guarantees)
    assert "| `g-one` | First. | `a.py`, `b.py` | `test_a.py`, `test_b.py` |\n" in updated
    assert "| `g-two` |  | `a.py` | `test_a.py` |\n\nMore about" in updated
    assert read_table(updated) == {one.id: row_of(one) for one in guarantees}
    with pytest.raises(ValueError, match="no table"):
        update_table("# Title\n", guarantees)


def test_architecture_has_each_guarantee_and_names_its_files() -> None:
    """It has no others: a guarantee without a mutant is a promise that no test keeps."""
    text = (CHECKOUT / ARCHITECTURE).read_text()
    sentences = read_sentences(text)
    assert [name for name, sentence in sentences.items() if not sentence.endswith(".")] == []
    assert len(set(sentences.values())) == len(sentences)
    assert read_table(text) == {one.id: row_of(one) for one in GUARANTEES}, HINT


def test_security_names_the_tests_of_each_promise() -> None:
    """Of its own guarantees, and of those in the other documents for administrators."""
    texts = {path: (CHECKOUT / path).read_text() for path in PROMISING}
    rows = promise_rows(texts, GUARANTEES)
    assert texts[SECURITY] == update_promises(texts[SECURITY], rows), HINT
    promised = re.findall(r'<a id="g-([a-z0-9-]+)">', "".join(texts.values()))
    assert re.findall(r"^\| \[`([a-z0-9-]+)`\]", rows, re.MULTILINE) == promised
    assert len(promised) > 80


def test_table_of_promises_links_to_anchors_and_test_files() -> None:
    mutants = (Mutant("a.py", "old", "new", ("tests/unit/test_a.py::test_it[x]", "tests/unit/test_b.py")),)
    texts = {SECURITY: '<a id="g-one">', "deploy/docs/policy.md": '<a id="g-two"> <a id="g-unknown">'}
    rows = promise_rows(texts, [Guarantee("one", mutants), Guarantee("two", mutants)])
    tests = "[`test_it`](../../tests/unit/test_a.py), [`test_b.py`](../../tests/unit/test_b.py)"
    assert rows == f"| [`one`](#g-one) | {tests} |\n| [`two`](policy.md#g-two) | {tests} |\n"
    with pytest.raises(ValueError, match="no table"):
        update_promises("# Title\n", rows)
