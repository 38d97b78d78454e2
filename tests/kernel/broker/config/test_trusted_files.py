"""The broker takes no policy from a file that others can change, or that others can put in its place."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nsbrokerd.config import ConfigError
from nsbrokerd.config.load import load_config
from support.users import GROUP, USER, start_as_user
from support.waiting import Counters, wait_until

LOADS = 300
FLIPS = 300
"""The race goes on for at least so many loads, and so many changes of the link."""


def configuration(name: str) -> str:
    return f"""
[broker]
socket_group = "root"
[[grant]]
name = "{name}"
users = ["*"]
namespaces = ["*"]
sockets = ["tcp"]
"""


def grants_of(path: Path) -> list[str]:
    return [grant.name for grant in load_config(path).policy.grants]


def untrusted(path: Path) -> list[str]:
    """Return the files and directories that make a configuration untrusted."""
    reason = "users other than root can write it; run chown root and chmod go-w"
    with pytest.raises(ConfigError, match=reason) as caught:
        load_config(path)
    return [problem.file for problem in caught.value.problems if problem.reason == reason]


@pytest.fixture
def good(open_directory: Path) -> Path:
    """A directory of root with a configuration and one file in grants.d."""
    directory = open_directory / "good"
    (directory / "grants.d").mkdir(parents=True)
    (directory / "nsbrokerd.toml").write_text(configuration("good"))
    (directory / "grants.d" / "more.toml").write_text(configuration("more").split('"root"')[1])
    return directory


@pytest.mark.parametrize("culprit", [".", "good", "good/grants.d", "good/grants.d/more.toml", "good/nsbrokerd.toml"])
@pytest.mark.parametrize(("uid", "mode"), [(0, 0o775), (0, 0o757), (USER, 0o755)])
def test_each_part_of_the_path_must_be_roots(good: Path, culprit: str, uid: int, mode: int) -> None:
    part = good.parent / culprit
    os.chown(part, uid, GROUP)
    part.chmod(mode)
    assert untrusted(good / "nsbrokerd.toml") == [str(part.resolve())]


def test_path_can_lead_through_a_sticky_directory(good: Path) -> None:
    """As /tmp is one: others can't replace the files of root there."""
    good.parent.chmod(0o1777)
    assert grants_of(good / "nsbrokerd.toml") == ["good", "more"]


def test_files_of_a_sticky_directory_are_not_all_roots(good: Path) -> None:
    (good / "grants.d").chmod(0o1777)
    with pytest.raises(ConfigError, match=r"grants\.d: users other than root can write it"):
        load_config(good / "nsbrokerd.toml")


def test_links_of_root_are_followed(good: Path) -> None:
    """By absolute and by relative targets, also to the parent, on the way and in the end."""
    way = good.parent / "etc"
    way.symlink_to(good)
    (good / "linked.toml").symlink_to("../etc/nsbrokerd.toml")
    assert grants_of(way / "linked.toml") == ["good", "more"]


@pytest.mark.parametrize("mode", [0o755, 0o1777])
def test_link_of_another_user_is_not_followed(good: Path, mode: int) -> None:
    way = good.parent / "etc"
    way.symlink_to(good)
    os.chown(way, USER, GROUP, follow_symlinks=False)
    good.parent.chmod(mode)
    assert untrusted(way / "nsbrokerd.toml") == [str(way)]


def test_way_to_the_target_of_a_link_is_checked(good: Path, tmp_path: Path) -> None:
    link = tmp_path / "nsbrokerd.toml"
    link.symlink_to(good / "nsbrokerd.toml")
    good.chmod(0o777)
    with pytest.raises(ConfigError, match=f"{good}: users other than root can write it"):
        load_config(link)


def test_links_that_never_end_are_a_problem(good: Path) -> None:
    (good / "a.toml").symlink_to("a.toml")
    with pytest.raises(ConfigError, match=r"a\.toml: can't be read: .*Too many levels of symbolic links"):
        load_config(good / "a.toml")


def test_directory_is_no_configuration(good: Path) -> None:
    """Neither is a pipe, for whose writer the broker would wait."""
    (good / "grants.d" / "z.toml").mkdir()
    with pytest.raises(ConfigError, match=r"z\.toml: can't be read: .*not a regular file"):
        load_config(good / "nsbrokerd.toml")


def test_relative_path_is_checked_as_well(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(good)
    assert grants_of(Path("nsbrokerd.toml")) == ["good", "more"]
    good.parent.chmod(0o777)
    with pytest.raises(ConfigError, match=f"{good.parent}: users other than root can write it"):
        load_config(Path("nsbrokerd.toml"))


def test_file_that_was_checked_is_read(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one that gets its name between the check and the read is not."""
    hostile = good / "hostile"
    hostile.write_text(configuration("hostile"))

    def swap_after(look: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def looked(*args: Any, **named: Any) -> os.stat_result:
            status = look(*args, **named)
            if stat.S_ISREG(status.st_mode):
                with suppress(FileNotFoundError):
                    hostile.rename(good / "nsbrokerd.toml")
            return status

        return looked

    monkeypatch.setattr(os, "fstat", swap_after(os.fstat))
    monkeypatch.setattr(os, "stat", swap_after(os.stat))
    assert grants_of(good / "nsbrokerd.toml") == ["good", "more"]
    assert not hostile.exists()


def flip(way: Path, targets: list[Path], flips: Counters) -> None:
    """Let a link lead to one directory after the other, for ever."""
    while True:
        for target in targets:
            way.with_name("next").symlink_to(target)
            way.with_name("next").rename(way)
            flips[0] += 1


@pytest.mark.parametrize("mode", [0o775, 0o1777])
def test_attacker_who_flips_a_link_never_wins(good: Path, open_directory: Path, mode: int) -> None:
    """The directory with the link is writable for the attacker's group, or sticky."""
    shared, hostile = open_directory / "shared", open_directory / "hostile"
    for directory, uid in ((shared, 0), (hostile, USER)):
        directory.mkdir()
        os.chown(directory, uid, GROUP)
    shared.chmod(mode)
    (hostile / "nsbrokerd.toml").write_text(configuration("hostile"))
    way, flips = shared / "etc", Counters(1)
    attacker = start_as_user(USER, GROUP, flip, way, [good, hostile], flips)
    try:
        wait_until(lambda: flips[0] > 0)
        loads, until = 0, flips[0] + FLIPS
        while loads < LOADS or flips[0] < until:
            with pytest.raises(ConfigError, match="users other than root can write it"):
                load_config(way / "nsbrokerd.toml")
            loads += 1
    finally:
        attacker.kill()
