"""The README of the tests names options, files and names that exist."""

from __future__ import annotations

import importlib
import re
import subprocess

from support import users
from support.checkout import CHECKOUT, TESTS

README = (TESTS / "README.md").read_text()
OPTIONS_OF_PYTEST = {"-k", "-x"}


def commands() -> list[list[str]]:
    """The calls of tests/run in the blocks, without their comments."""
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = [line.partition("#")[0].split() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line[0] == "tests/run"]


def test_options_and_files_of_the_commands_exist() -> None:
    shown = subprocess.run([TESTS / "run", "--help"], capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"^  +(--[a-z-]+)", shown, re.MULTILINE)) | OPTIONS_OF_PYTEST
    assert len(known) > len(OPTIONS_OF_PYTEST)
    assert commands()
    for _, *arguments in commands():
        assert {argument for argument in arguments if argument.startswith("-")} <= known
        assert all((CHECKOUT / argument).exists() for argument in arguments if argument.startswith("tests/"))
    assert set(re.findall(r"`tests/run (--[a-z-]+)", README)) <= known


def test_every_option_is_explained() -> None:
    shown = subprocess.run([TESTS / "run", "--help"], capture_output=True, text=True, check=True).stdout
    for option in re.findall(r"^  +(--[a-z-]+)", shown, re.MULTILINE):
        assert option in README


def test_folders_and_helpers_exist() -> None:
    table = re.findall(r"^\| (`.*?) \|", README, re.MULTILINE)
    folders = [name for row in table for name in re.findall(r"`([a-z]+)/`", row)]
    assert {"unit", "kernel", "brokers"} <= set(folders)
    for name in folders:
        assert (TESTS / name).is_dir() or (TESTS / "support" / name).is_dir(), name
    helpers = README.partition("| in `support/` | for |")[2].partition("\n\n")[0]
    for line in helpers.splitlines()[2:]:
        for name in re.findall(r"`(\w+)`", line.split("|")[1]):
            importlib.import_module(f"support.{name}")
    for name in ("UIDS", "USER", "OTHER_USER", "GROUP", "as_unprivileged"):
        assert hasattr(users, name)
        assert f"`{name}" in README or f".{name}" in README
