"""The kept inputs of the fuzzer keep all promises, also where there is no fuzzer."""

from __future__ import annotations

import pytest

from fuzz import corpus, target

MOST_KIB = 400
"""Of all kept inputs together."""


@pytest.mark.parametrize("name", target.names())
def test_kept_inputs_keep_all_promises(name: str) -> None:
    check = target.load(name).check
    inputs = corpus.read(name)
    assert inputs
    for data in inputs:
        try:
            check(data)
        except Exception as error:
            error.add_note(f"tests/fuzz/run {name} --input {ascii(data)!r}")
            raise


def test_each_target_has_kept_inputs_and_they_are_few() -> None:
    files = list(corpus.DIRECTORY.iterdir())
    assert sorted(file.name for file in files) == sorted(f"{name}.txt" for name in target.names())
    assert sum(file.stat().st_size for file in files) < MOST_KIB * 1024


@pytest.mark.parametrize("line", ["", "'text'", "b'", "b'' + b''"])
def test_line_that_is_no_input_is_refused(line: str) -> None:
    with pytest.raises((SyntaxError, ValueError)):
        corpus.parse(line)


def test_each_input_is_a_line_that_can_be_read() -> None:
    for name in target.names():
        text = (corpus.DIRECTORY / f"{name}.txt").read_text()
        assert text.isascii()
        assert text == "".join(f"{data!a}\n" for data in corpus.read(name))
