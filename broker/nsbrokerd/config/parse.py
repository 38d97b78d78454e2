"""Turns TOML texts into settings and a policy, or into a list of all problems. Pure.

An unknown key is a problem, so that a misspelt restriction is never ignored.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from nsbroker.wire import MAX_PACKET_BYTES

from ..clients.quotas import Quotas
from ..policy import Policy
from ..policy.engine_names import ENGINES
from ..policy.grant import DEFAULT_SOCKETS
from .grants import Host, read_grants, refuse_double_names
from .lines import Lines
from .table import Problem, Table

DEFAULT_CONFIG_PATH = "/etc/nsbroker/nsbrokerd.toml"
DEFAULT_SOCKET_PATH = "/run/nsbroker/nsbroker.sock"
DEFAULT_SEAL_PATH = "/sys/fs/bpf/nsbrokerd"
LOG_LEVELS = ("debug", "info", "warning", "error")
MAX_SOCKET_PATH_BYTES = 107
"""The longest path that a Unix socket can have. Source: sockaddr_un in unix(7), less the NUL."""


class ConfigError(ValueError):
    """The configuration can't be used. `problems` lists all reasons, and everything else that is wrong."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Config:
    """All settings, and the policy.

    If `audit_path` is None, the audit goes to standard error. `seal_path` is the directory that keeps limits, and
    `control_path` the socket for the status. `engines` has the path of the socket for each engine that is switched on.
    `warnings` are problems because of which a part was left out. `lines` has
    the places of the main file's keys.
    """

    policy: Policy
    socket_path: str = DEFAULT_SOCKET_PATH
    socket_gid: int = 0
    quotas: Quotas = field(default_factory=Quotas)
    audit_path: str | None = None
    log_level: str = "info"
    seal_path: str = DEFAULT_SEAL_PATH
    control_path: str = "/run/nsbroker/control.sock"
    engines: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()
    lines: Lines = field(default_factory=lambda: Lines(""), compare=False, repr=False)


def parse_config(main: tuple[str, str | None], grant_files: Sequence[tuple[str, str]], host: Host) -> Config:
    """Read the main file and the files of grants.d, each as (file name, text).

    If the main file has no text, because it can't be read, its settings are left out.

    Raises:
        ConfigError: with all problems of all files.
    """
    problems: list[Problem] = []
    main_file, main_text = main
    tables = [
        Table(name, "", _parse_toml(name, text, problems), problems, Lines(text))
        for name, text in ((main_file, main_text or ""), *grant_files)
    ]
    # If the main file can't be read, do not check its defaults: it may have other values.
    is_main_parsed = main_text is not None and not any(problem.file == main_file for problem in problems)
    settings = _read_settings(tables[0], host) if is_main_parsed else {}
    # If the main file can't be read, it may switch on any engine.
    engines = frozenset(settings["engines"] if is_main_parsed else ENGINES)
    grants = [grant for table in tables for grant in read_grants(table, host, engines)]
    for table in tables:
        table.refuse_the_rest()
    refuse_double_names(grants)
    if any(problem.is_fatal for problem in problems):
        raise ConfigError(problems)
    lines = Lines(main_text or "")
    policy = Policy(tuple(grant for _, grant in grants), engines)
    return Config(policy, **settings, warnings=tuple(problems), lines=lines)


def _parse_toml(name: str, text: str, problems: list[Problem]) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # Other errors than TOMLDecodeError: a number has too many digits, or brackets are nested too deeply.
        problems.append(Problem(name, "", f"not valid TOML: {error}"))
        return {}


def _read_settings(main: Table, host: Host) -> dict[str, Any]:
    broker, quotas, audit, log = (main.take_table(key) for key in ("broker", "quotas", "audit", "log"))
    socket_path = _take_socket_path(broker, "socket", DEFAULT_SOCKET_PATH)
    settings: dict[str, Any] = {
        "socket_path": socket_path,
        "socket_gid": _take_group(broker, host),
        "quotas": _read_quotas(quotas),
        "audit_path": _take_path(audit, "path", "") or None,
        "log_level": log.take("level", str, "info"),
        "seal_path": _take_path(broker, "seal", DEFAULT_SEAL_PATH),
        "control_path": _take_socket_path(broker, "control", control_beside(socket_path)),
        "engines": _read_engines(main.take_table("engines")),
    }
    if settings["control_path"] == socket_path:
        broker.complain("control", "must be another path than broker.socket")
    if settings["log_level"] not in LOG_LEVELS:
        log.complain("level", f"must be one of {', '.join(LOG_LEVELS)}, not {settings['log_level']!r}")
    for table in (broker, quotas, audit, log):
        table.refuse_the_rest()
    return settings


def _read_engines(table: Table) -> dict[str, str]:
    """Return the path of the socket for each engine that is switched on. Each other key is a problem."""
    engines: dict[str, str] = {}
    for engine in ENGINES:
        if engine in table:
            if table.peek(engine) == "":
                table.complain(engine, f"must be the path of a socket, like {DEFAULT_SOCKETS[engine]!r}")
            engines[engine] = _take_socket_path(table, engine, "")
    table.refuse_the_rest()
    return engines


def control_beside(socket_path: str) -> str:
    """Return the path of the control socket if the configuration names none."""
    return f"{socket_path.rpartition('/')[0]}/control.sock"


def _take_path(table: Table, key: str, default: str) -> str:
    path = table.take(key, str, default)
    if path and not path.startswith("/"):
        table.complain(key, f"must be an absolute path, not {path!r}")
    return path


def _take_socket_path(table: Table, key: str, default: str) -> str:
    path = _take_path(table, key, default)
    if (size := len(path.encode())) > MAX_SOCKET_PATH_BYTES:
        table.complain(key, f"{path} has {size} bytes, and a socket's path at most {MAX_SOCKET_PATH_BYTES}: shorten it")
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
