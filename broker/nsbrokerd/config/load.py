"""Loads the configuration's files, and resolves its names of users and groups on this host."""

from __future__ import annotations

import grp
import os
import pwd
from functools import cache
from pathlib import Path

from ..namespaces.resolver_files import NameServers
from ..policy import NamespaceRule
from ..seal import WallError, why_no_second_wall, why_unavailable
from . import Config, ConfigError, Problem, parse_config
from .trusted_files import UntrustedError, list_names, read_text


class ThisHost:
    """This host's users and groups, its name servers, and whether its kernel can enforce limits."""

    def __init__(self, *, can_seal: bool = False) -> None:
        # Each is found out once, however many grants have limits.
        self._name_servers = cache(NameServers)
        self._why_no_seal = cache(lambda: None if can_seal else why_unavailable())
        # Only root can try it. Other users check a configuration as if their host could have it.
        self._why_no_second_wall = cache(lambda: _why_no_second_wall() if os.geteuid() == 0 else None)

    def uid(self, name: str) -> int | None:
        """Return the uid of a user, or None."""
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            return None

    def gid(self, name: str) -> int | None:
        """Return the gid of a group, or None."""
        try:
            return grp.getgrnam(name).gr_gid
        except KeyError:
            return None

    def why_no_seal(self) -> str | None:
        """Return the reason why this host can't enforce limits, or None."""
        return self._why_no_seal()

    def why_no_second_wall(self) -> str | None:
        """Return the reason why this host can't have the second wall, or None."""
        return self._why_no_second_wall()

    def name_servers(self, namespaces: NamespaceRule) -> list[str]:
        """List the addresses of the name servers that the files name now for these namespaces.

        The files of containers are not among them: their content is the containers' claim.
        """
        return self._name_servers().for_namespaces(namespaces.covers_entry)


def _why_no_second_wall() -> str | None:
    try:
        return why_no_second_wall()
    except WallError as error:
        return str(error)


def load_config(path: Path, *, can_seal: bool = False) -> Config:
    """Load the main file, and the files grants.d/*.toml beside it in the order of their names.

    Args:
        path: the main file.
        can_seal: assume that this host can enforce limits. Trying it takes some hundred milliseconds.

    Raises:
        ConfigError: with every problem. A file that can't be read, or that other users than root can write, is one.
    """
    problems: list[Problem] = []
    main = _read(path, problems)
    grants = [
        (str(file), _read(file, problems) or "") for file in _list_grant_files(path.parent / "grants.d", problems)
    ]
    try:
        config = parse_config((str(path), main), grants, ThisHost(can_seal=can_seal))
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from None
    if problems:
        raise ConfigError(problems)
    return config


def _read(path: Path, problems: list[Problem]) -> str | None:
    try:
        return read_text(path)
    except (OSError, UnicodeDecodeError, UntrustedError) as error:
        _note(problems, path, error)
        return None


def _list_grant_files(directory: Path, problems: list[Problem]) -> list[Path]:
    try:
        return [directory / name for name in list_names(directory) if name.endswith(".toml")]
    except FileNotFoundError:  # it is optional
        return []
    except (OSError, UntrustedError) as error:
        _note(problems, directory, error)
        return []


def _note(problems: list[Problem], path: Path, error: Exception) -> None:
    reason = (error.strerror if isinstance(error, OSError) else None) or error
    remedy = ": create it, or name another file" if isinstance(error, FileNotFoundError) else ""
    problem = Problem(str(path), "", f"can't be read: {reason}{remedy}")
    if isinstance(error, UntrustedError):
        problem = Problem(error.path, "", "users other than root can write it; run chown root and chmod go-w")
    if problem not in problems:  # all files have the same directory
        problems.append(problem)
