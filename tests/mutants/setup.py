"""The broker's room `setup`: files that are not ours, and grants that the configuration can't have."""

from __future__ import annotations

from .guarantee import Guarantee, Mutant

INSTALLATION = "tests/kernel/broker/setup/test_installation.py::"
GRANTING = "tests/kernel/broker/setup/test_granting.py::"

GUARANTEES = (
    Guarantee(
        "install-spares-others",
        (
            Mutant(
                "broker/nsbrokerd/setup/installation.py",
                "elif is_unchanged(present) or present == copy.text:",
                "elif True:",
                (f"{INSTALLATION}test_foreign_file_stays_and_is_named_in_one_line",),
            ),
            Mutant(
                "broker/nsbrokerd/setup/installation.py",
                "    elif is_unchanged(text):\n        tree.remove(path)",
                "    elif True:\n        tree.remove(path)",
                (f"{INSTALLATION}test_changed_unit_is_the_administrators",),
            ),
            Mutant(
                "broker/nsbrokerd/setup/installation.py",
                "    elif _is_own_link(link, target, former):\n        tree.link(",
                "    elif True:\n        tree.link(",
                (f"{INSTALLATION}test_link_to_other_programs_is_foreign",),
            ),
            Mutant(
                "broker/nsbrokerd/setup/marked_text.py",
                "first is not None and first[1] == _digest(text[first.end() :])",
                "first is not None",
                ("tests/unit/broker/setup/test_marked_text.py::test_every_change_makes_it_someone_elses",),
            ),
        ),
    ),
    Guarantee(
        "grant-is-whole",
        (
            Mutant(
                "broker/nsbrokerd/setup/granting.py",
                "            tree.remove(path)\n        else:\n            tree.write(path, before)",
                "            pass\n        else:\n            pass",
                (f"{GRANTING}test_grant_that_the_configuration_can_not_have_is_withdrawn",),
            ),
            Mutant(
                "broker/nsbrokerd/setup/granting.py",
                "            tree.write(path, before)",
                "            tree.remove(path)",
                (f"{GRANTING}test_replacement_that_is_withdrawn_leaves_the_grant_as_it_was",),
            ),
        ),
    ),
)
