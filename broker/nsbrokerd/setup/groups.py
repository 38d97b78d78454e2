"""Groups and their members. Changes go through the tools of the host."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

from .report import Report
from .tools import run_one_of
from .tree import Tree

_GROUP_FILE = Path("/etc/group")


def make_group(tree: Tree, group: str, report: Report) -> None:
    """Make a group, unless it is there."""
    told = f"the group {group}"
    if _exists(tree, group):
        report.unchanged("unchanged", told)
        return
    with report.step(told):
        run_one_of(
            ["systemd-sysusers", f"--root={tree.root}", "--inline", f"g {group} -"],
            ["groupadd", "--system", *_prefix(tree), group],
        )
        report.changed("made", told)


def remove_group(tree: Tree, group: str, report: Report) -> None:
    """Remove a group, unless it is gone."""
    told = f"the group {group}"
    if not _exists(tree, group):
        report.unchanged("absent", told)
        return
    with report.step(told):
        run_one_of(["groupdel", *_prefix(tree), group])
        report.changed("removed", told)


def add_member(user: str, group: str, report: Report) -> None:
    """Add a user to a group, unless it is a member."""
    if is_member(user, group):
        report.unchanged("unchanged", f"{user} is in the group {group}")
        return
    told = f"{user} to the group {group}"
    with report.step(told):
        run_one_of(["usermod", "-aG", group, user], ["gpasswd", "-a", user, group])
        report.changed("added", told, "running sessions do not have it, so log in anew")


def remove_member(user: str, group: str, report: Report) -> None:
    """Remove a user from a group, unless it is no member."""
    if not is_member(user, group):
        report.unchanged("absent", f"{user} in the group {group}")
        return
    told = f"{user} from the group {group}"
    with report.step(told):
        run_one_of(["gpasswd", "-d", user, group])
        report.changed("removed", told, "running sessions still have it")


def is_member(user: str, group: str) -> bool:
    """Return whether a group is one of a user's."""
    try:
        entry, found = pwd.getpwnam(user), grp.getgrnam(group)
    except KeyError:
        return False
    return found.gr_gid in os.getgrouplist(user, entry.pw_gid)


def _exists(tree: Tree, group: str) -> bool:
    if not tree.is_this_host:
        lines = (tree.read(_GROUP_FILE) or "").splitlines()
        return any(line.startswith(f"{group}:") for line in lines)
    try:
        grp.getgrnam(group)
    except KeyError:
        return False
    return True


def _prefix(tree: Tree) -> list[str]:
    return [] if tree.is_this_host else ["--prefix", str(tree.root)]
