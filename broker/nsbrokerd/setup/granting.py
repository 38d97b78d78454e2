"""Gives a user a grant, and takes it away: the file, the check of the whole configuration, the group, the reload.

If the configuration has a problem with the file, the file is withdrawn before the broker can load it.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from ..config import Config, ConfigError
from ..config.load import load_config
from ..config.table import did_you_mean
from ..config.trusted_files import UntrustedError, list_names
from ..policy import Grant, Subject
from .grant_file import Wish, check, file_name, text_of
from .groups import add_member, remove_member
from .marked_text import is_unchanged
from .report import Report, StepError
from .systemd import reload_broker
from .tree import Tree

_NAMESPACES = Path("/run/netns")
_PATTERN = frozenset("*?[")


def user_of(text: str) -> str:
    """Return the name of a user, given by name or id.

    Raises:
        StepError: there is no such user.
    """
    try:
        return (pwd.getpwuid(int(text)) if text.isdecimal() and int(text) < 2**32 else pwd.getpwnam(text)).pw_name
    except (KeyError, ValueError):
        advice = did_you_mean(text, [entry.pw_name for entry in pwd.getpwall()]) or "make the user, or name another one"
        raise StepError(f"there is no user {text!r}: {advice}") from None


def give(config_path: Path, wish: Wish, report: Report) -> None:
    """Give a user a grant. A grant of the same user in the same namespace is replaced.

    Raises:
        StepError: there is no such grant, or no such user.
        ConfigError: the configuration has problems, with the grant or without it. Nothing has changed.
    """
    try:
        check(wish)
    except ValueError as error:
        raise StepError(str(error)) from error
    path = _path(config_path, wish.user, wish.namespace)
    with report.step(path):
        config = _write(config_path, path, text_of(wish), report)
        for problem in config.warnings:
            report.unchanged("warning", problem)
        if not config.policy.is_reserved(wish.namespace):
            _note_missing_namespace(wish.namespace, report)
        if wish.user != "root":  # root can always connect
            add_member(wish.user, _group_of(config), report)
        reload_broker(report)


def _note_missing_namespace(namespace: str, report: Report) -> None:
    """Note a name without a namespace. It can come later, or be misspelt."""
    if namespace.startswith("@") or not _PATTERN.isdisjoint(namespace):
        return
    names = os.listdir(_NAMESPACES) if _NAMESPACES.is_dir() else []
    if namespace not in names:
        report.unchanged("note", f"there is no namespace {namespace!r} yet", did_you_mean(namespace, names))


def _write(config_path: Path, path: Path, text: str, report: Report) -> Config:
    """Put the file in place if the whole configuration is good with it.

    Raises:
        ConfigError: it is not. The file is as before.
    """
    tree = Tree()
    before = tree.read(path)
    if before == text:
        report.unchanged("unchanged", path)
        return load_config(config_path)
    if before is not None and not is_unchanged(before):
        raise StepError("not from nsbrokerd grant, or changed since: edit it, or remove it and run this command again")
    tree.write(path, text)
    try:
        config = load_config(config_path)
    except BaseException:
        if before is None:
            tree.remove(path)
        else:
            tree.write(path, before)
        report.unchanged("withdrawn", path, "the configuration has problems")
        raise
    report.changed("wrote" if before is None else "replaced", path)
    return config


def take(config_path: Path, user: str, namespace: str, report: Report) -> None:
    """Take a grant away, and the group with the last one.

    Raises:
        StepError: the user does not exist, and has no such grant.
        ConfigError: the configuration has problems. The file is gone.
    """
    path = _path(config_path, user, namespace)
    tree = Tree()
    with report.step(path):
        text = tree.read(path)
        if text is None:
            others = (
                [name for name in list_names(path.parent) if name.endswith(".toml")] if path.parent.exists() else []
            )
            report.unchanged("absent", path, did_you_mean(path.name, others))
        elif is_unchanged(text):
            tree.remove(path)
            report.changed("removed", path)
        else:
            raise StepError("not from nsbrokerd grant, or changed since: edit or remove it yourself")
    if report.has_failed:
        return
    try:
        config = load_config(config_path)
    except ConfigError:
        reason = "the configuration has problems, so a running broker still gives this grant"
        report.failed("the reload", f"{reason}: correct them, then run this command again")
        raise
    if user != "root":
        _remove_from_group(config, user, report)
    # Also if the file was gone: an earlier run may have ended before its reload.
    reload_broker(report)


def _remove_from_group(config: Config, user: str, report: Report) -> None:
    try:
        left = config.policy.grants_of(subject_of(user))
    except KeyError:
        return  # deleted since, and its memberships with it
    if left:
        report.unchanged("kept", f"{user} in the group {_group_of(config)}", f"grant {left[0].name!r} covers {user}")
    else:
        remove_member(user, _group_of(config), report)


def _path(config_path: Path, user: str, namespace: str) -> Path:
    """Return the path of a grant's file.

    Raises:
        StepError: users other than root could put something else there.
    """
    directory = config_path.absolute().parent / "grants.d"
    try:
        _names_in(directory)
    except UntrustedError as error:
        raise StepError(f"users other than root can write {error.path}: run chown root and chmod go-w") from error
    return directory / file_name(user, namespace)


def _names_in(directory: Path) -> list[str]:
    try:
        return list_names(directory)
    except FileNotFoundError:
        return []


def _group_of(config: Config) -> str:
    return grp.getgrgid(config.socket_gid).gr_name


def subject_of(user: str) -> Subject:
    """Return a user with all groups that its next login has.

    Raises:
        KeyError: there is no such user.
    """
    entry = pwd.getpwnam(user)
    return Subject(entry.pw_uid, frozenset(os.getgrouplist(user, entry.pw_gid)))


def describe(config_path: Path, user: str) -> Iterator[str]:
    """Yield everything that a user can do by all of its grants, one line for each grant."""
    grants = load_config(config_path).policy.grants_of(subject_of(user))
    if not grants:
        yield f"{user} can't use any namespace: no grant is left"
    for grant in grants:
        yield f"{user} can use {', '.join(grant.namespaces.texts)}: {_rights(grant)} (grant {grant.name!r})"


def _rights(grant: Grant) -> str:
    summary = grant.summarise()
    parts = [f"{', '.join(summary.sockets)} sockets"]
    if summary.bind:
        parts.append(f"the broker binds {', '.join(summary.bind)}")
    if summary.options:
        parts.append(f"with {', '.join(summary.options)}")
    for verb, rules in (("connect to", summary.limit.connect), ("bind", summary.limit.bind)):
        if rules is not None:
            parts.append(f"they can {verb} {', '.join(rules) or 'no address'} only")
    return "; ".join(parts)
