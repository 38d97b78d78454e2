"""Reads the configuration's files, and the host's users and groups."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from functools import cache
from pathlib import Path

from ..namespaces.nameservers import NameServers
from ..policy import NamespaceRule
from ..seal import why_unavailable
from . import Config, ConfigError, Problem, parse_config


class ThisHost:
    """Users and groups as the host's name service has them; what the kernel can enforce."""

    def __init__(self, *, can_seal: bool = False) -> None:
        # Asked once, however many grants have limits.
        self._name_servers = cache(NameServers)
        self._why_no_seal = cache(lambda: None if can_seal else why_unavailable())

    def uid(self, name: str) -> int | None:
        """Give the id of a user, or None."""
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            return None

    def gid(self, name: str) -> int | None:
        """Give the id of a group, or None."""
        try:
            return grp.getgrnam(name).gr_gid
        except KeyError:
            return None

    def why_no_seal(self) -> str | None:
        """Say why limits can't be enforced here, or None."""
        return self._why_no_seal()

    def name_servers(self, namespaces: NamespaceRule) -> list[str]:
        """List the addresses that look up names in these namespaces, as the files say now."""
        return self._name_servers().for_namespaces(namespaces.covers)


def load_config(path: Path, *, can_seal: bool = False) -> Config:
    """Load the file and the *.toml of the directory grants.d beside it, in order of their names.

    Args:
        path: of the main file.
        can_seal: take it for granted that limits can be enforced here; to try it takes some hundred milliseconds.

    Raises:
        ConfigError: with every problem: also a file that can't be read, or that others than root can write.
    """
    problems: list[Problem] = []
    main = (str(path), _read(path, problems))
    directory = path.parent / "grants.d"
    files = sorted(directory.glob("*.toml")) if directory.is_dir() else []
    if files:
        _refuse_foreign_writers(directory, problems)
    grants = [(str(file), _read(file, problems)) for file in files]
    try:
        config = parse_config(main, grants, ThisHost(can_seal=can_seal))
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from None
    if problems:
        raise ConfigError(problems)
    return config


def _read(path: Path, problems: list[Problem]) -> str:
    _refuse_foreign_writers(path, problems)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(str(path), "", f"can't be read: {error}"))
        return ""


def _refuse_foreign_writers(path: Path, problems: list[Problem]) -> None:
    """Whoever can write the policy has every socket of this host: so only root, or who runs this."""
    try:
        status = path.stat()
    except OSError:
        return  # reading it says what is wrong
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        problems.append(Problem(str(path), "", "others than root can write it: chown root, chmod go-w"))
