"""Turns TOML texts into settings and a policy, or into a list of all problems. Pure.

An unknown key is a problem, so that a misspelt restriction is never ignored.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from nsbroker.wire import MAX_PACKET_BYTES

from ..clients.quotas import Quotas
from ..policy import Policy
from .grants import Host, read_grants, refuse_double_names
from .table import Problem, Table

DEFAULT_CONFIG_PATH = "/etc/nsbroker/nsbrokerd.toml"
DEFAULT_SEAL_PATH = "/sys/fs/bpf/nsbrokerd"
LOG_LEVELS = ("debug", "info", "warning", "error")


class ConfigError(ValueError):
    """The configuration can't be used. `problems` lists all reasons."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Config:
    """All settings, and the policy.

    If `audit_path` is None, the audit goes to standard error. `seal_path` is the directory that keeps limits.
    """

    policy: Policy
    socket_path: str = "/run/nsbroker/nsbroker.sock"
    socket_gid: int = 0
    quotas: Quotas = field(default_factory=Quotas)
    audit_path: str | None = None
    log_level: str = "info"
    seal_path: str = DEFAULT_SEAL_PATH


def parse_config(main: tuple[str, str], grant_files: Sequence[tuple[str, str]], host: Host) -> Config:
    """Read the main file and the files of grants.d, each as (file name, text).

    Raises:
        ConfigError: with all problems of all files.
    """
    problems: list[Problem] = []
    tables = [Table(name, "", _parse_toml(name, text, problems), problems) for name, text in (main, *grant_files)]
    # If the main file can't be parsed, do not check its defaults: it may have other values.
    is_main_parsed = not any(problem.file == main[0] for problem in problems)
    settings = _read_settings(tables[0], host) if is_main_parsed else {}
    grants = [grant for table in tables for grant in read_grants(table, host)]
    for table in tables:
        table.refuse_the_rest()
    refuse_double_names(grants)
    if problems:
        raise ConfigError(problems)
    return Config(Policy(tuple(grant for _, grant in grants)), **settings)


def _parse_toml(name: str, text: str, problems: list[Problem]) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # Other errors than TOMLDecodeError: a number has too many digits, or brackets are nested too deeply.
        problems.append(Problem(name, "", f"not valid TOML: {error}"))
        return {}


def _read_settings(main: Table, host: Host) -> dict[str, Any]:
    broker, quotas, audit, log = (main.take_table(key) for key in ("broker", "quotas", "audit", "log"))
    settings: dict[str, Any] = {
        "socket_path": _take_path(broker, "socket", "/run/nsbroker/nsbroker.sock"),
        "socket_gid": _take_group(broker, host),
        "quotas": _read_quotas(quotas),
        "audit_path": _take_path(audit, "path", "") or None,
        "log_level": log.take("level", str, "info"),
        "seal_path": _take_path(broker, "seal", DEFAULT_SEAL_PATH),
    }
    if settings["log_level"] not in LOG_LEVELS:
        log.complain("level", f"must be one of {', '.join(LOG_LEVELS)}, not {settings['log_level']!r}")
    for table in (broker, quotas, audit, log):
        table.refuse_the_rest()
    return settings


def _take_path(table: Table, key: str, default: str) -> str:
    path = table.take(key, str, default)
    if path and not path.startswith("/"):
        table.complain(key, f"must be an absolute path, not {path!r}")
    return path


def _take_group(broker: Table, host: Host) -> int:
    name = broker.take("socket_group", str, "nsbroker")
    gid = host.gid(name)
    if gid is None:
        broker.complain("socket_group", f"there is no group {name!r}; create it, or name another one")
    return gid or 0


_QUOTA_RANGES = {
    "clients": (1, 1_000_000),
    "clients_per_user": (1, 1_000_000),
    "requests_per_second": (1, 10_000_000),
    "packet_bytes": (256, MAX_PACKET_BYTES),
    "reply_timeout_s": (1, 3600),
}


def _read_quotas(table: Table) -> Quotas:
    defaults = asdict(Quotas())
    return Quotas(**{key: table.take_number(key, *_QUOTA_RANGES[key], default) for key, default in defaults.items()})
