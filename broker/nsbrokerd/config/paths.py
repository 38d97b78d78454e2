"""Reads only the paths by which a command finds a broker. A configuration that is broken elsewhere has them, too."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from .parse import DEFAULT_CONFIG_PATH, DEFAULT_SEAL_PATH, DEFAULT_SOCKET_PATH, ConfigError, control_beside
from .table import Problem
from .trusted_files import UntrustedError, read_text


class Paths(NamedTuple):
    """The paths of a broker.

    Attributes:
        control: its control socket.
        seal: the directory that keeps its limits.
        problem: the reason why the default paths may be the wrong ones, or None.
    """

    control: str
    seal: str
    problem: str | None = None


def read_paths(config_path: Path) -> Paths:
    """Read the paths from the main file of a configuration.

    Raises:
        ConfigError: the file can't be read or trusted. Without a file, the default configuration has the default paths.
    """
    try:
        text, problem = read_text(config_path), None
    except UntrustedError as error:
        told = "users other than root can write it; run chown root and chmod go-w"
        raise ConfigError([Problem(error.path, "", told)]) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        if config_path != Path(DEFAULT_CONFIG_PATH):
            raise ConfigError([Problem(str(config_path), "", f"can't be read: {reason}")]) from error
        text, problem = "", f"{config_path}: can't be read, so the default paths are used: {reason}"
    broker, trouble = _broker(text)
    if trouble is not None:
        problem = f"{config_path}: {trouble}; its paths are used as far as they can be read"
    own_socket = _path(broker, "socket", DEFAULT_SOCKET_PATH)
    return Paths(
        _path(broker, "control", control_beside(own_socket)), _path(broker, "seal", DEFAULT_SEAL_PATH), problem
    )


def _broker(text: str) -> tuple[dict[str, Any], str | None]:
    """Return the table [broker], and the reason if the text is no TOML."""
    try:
        table = tomllib.loads(text).get("broker", {})
    except (ValueError, RecursionError) as error:
        return _salvage(text), f"not valid TOML: {error}"
    return (table if isinstance(table, dict) else {}), None


def _salvage(text: str) -> dict[str, Any]:
    """Return the keys of the table [broker] that stand in a line of their own."""
    found: dict[str, Any] = {}
    is_inside = False
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            is_inside = line.partition("#")[0].strip() == "[broker]"
        elif is_inside:
            try:
                found |= tomllib.loads(line)
            except (ValueError, RecursionError):
                continue
    return found


def _path(table: dict[str, Any], key: str, default: str) -> str:
    value = table.get(key)
    return value if isinstance(value, str) and value.startswith("/") and "\0" not in value else default
