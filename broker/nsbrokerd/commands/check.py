"""`nsbrokerd check` checks the configuration, and whether this host has everything that a broker with it needs."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ..config import Config, ConfigError, Problem
from ..config.delegation_files import why_unusable
from ..config.load import load_config
from ..config.places import find_problems, why_no_control
from ..namespaces.file_identity import identify
from ..namespaces.later_names import why_later_names_are_hidden
from ..policy.kinds import KIND_OF_TRIPLE
from ..seal import (
    WallError,
    is_installed,
    limited_kinds,
    missing_hooks,
    why_no_place,
    why_no_second_wall,
    why_not_listed,
    why_short_lived,
    why_unavailable,
)
from ..sockets.kernel_support import probe_kinds
from .common import add_config

_UNHELD = (
    "  the first wall alone can't stop listen() and accept() once a limit has narrowed, multicasts and broadcasts of",
    "  UDP-Lite in the sender's own namespace, and options that callers of 32 bits set, and it has no limits of sctp",
)
"""The promises that need the second wall. deploy/docs/limits.md says more."""

_NOT_SWEPT = (
    "  this kernel refuses programs that look at its sockets: {}",
    "  so a reload does not cut off connected sockets, and nsbrokerd sockets and revoke can't reach limited ones",
)
"""The promises that need more of the kernel than the first wall."""

_TAKES_ROOT = "not tested, because this takes root: run nsbrokerd check as root"


class Limits(NamedTuple):
    """The walls that limits have on this host.

    Attributes:
        walls: their number, or None if this is not known.
        reason: why there are not two, or "".
        why_not_swept: why a reload does not reach connected sockets, or None if it does.
    """

    walls: int | None
    reason: str = ""
    why_not_swept: str | None = None


class Report(NamedTuple):
    """The result of a check.

    Attributes:
        problems: everything that is wrong. `serve` refuses the configuration if one of them is fatal.
        grants: the number of grants, or None without a configuration.
        missing: granted kinds of sockets that this kernel lacks, each with the reason.
        limits: the walls, or None without a configuration.
        places_are_tested: whether this process could look at the places of socket, audit and limits, and ask engines.
        engines: a line about each engine that answered.
    """

    problems: tuple[Problem, ...]
    grants: int | None = None
    missing: Mapping[str, str] = {}
    limits: Limits | None = None
    places_are_tested: bool = True
    engines: Mapping[str, str] = {}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_config(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run the command. Return the exit status."""
    report = check(arguments.config)
    if arguments.json:
        print(json.dumps(_fields(arguments.config, report), indent=2))
    elif report.problems:
        print("\n".join(map(str, report.problems)), file=sys.stderr)
    else:
        print("\n".join(_lines(arguments.config, report)))
    return 1 if report.problems else 0


def check(path: Path) -> Report:
    """Load the configuration, and look at everything that a broker with it needs of this host."""
    is_root = os.geteuid() == 0
    try:
        config = load_config(path, can_seal=not is_root)
    except ConfigError as error:
        return Report(error.problems)
    problems = config.warnings
    engines: dict[str, str] = {}
    if is_root:
        for engine, (answer, is_sound) in ask_engines(config.engines).items():
            if is_sound:
                engines[engine] = answer
            else:
                line = config.lines.of(f"engines.{engine}")
                problems += (Problem(str(path), f"engines.{engine}", answer, line, is_fatal=False),)
        fatal = tuple(find_problems(path, config, needs_socket=True))
        problems += fatal
        if not fatal and (reason := why_no_control(config)):
            line = config.lines.of("broker.control")
            problems += (Problem(str(path), "broker.control", reason, line, is_fatal=False),)
    if reason := why_unusable():
        told = f"can't read which ids are delegated, so all ids of other users count as one user: {reason}"
        problems += (Problem(str(path), "", told, is_fatal=False),)
    for key, told in _look_at_container(config):
        problems += (Problem(str(path), key, told, config.lines.of(key) if key else None, is_fatal=False),)
    missing = {KIND_OF_TRIPLE[triple]: os.strerror(number) for triple, number in probe_kinds(config.policy).items()}
    limits = _look_at_limits(config) if is_root else Limits(None, _TAKES_ROOT)
    return Report(problems, len(config.policy.grants), missing, limits, is_root, engines)


def ask_engines(sockets: Mapping[str, str]) -> dict[str, tuple[str, bool]]:
    """Ask each engine once. Return for each a line about it, and whether it answered."""
    if not sockets:
        return {}
    import trio

    from ..namespaces.engines import EngineError, Engines

    home_fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        home = identify(home_fd)
    finally:
        os.close(home_fd)
    engines = Engines({engine: Path(path) for engine, path in sockets.items()}, home)
    told: dict[str, tuple[str, bool]] = {}

    async def ask(engine: str) -> None:
        try:
            told[engine] = await engines.check(engine), True
        except EngineError as error:
            told[engine] = str(error), False

    async def ask_all() -> None:
        async with trio.open_nursery() as nursery:
            for engine in sockets:
                nursery.start_soon(ask, engine)

    trio.run(ask_all)
    return {engine: told[engine] for engine in sockets}


def _look_at_container(config: Config) -> Iterator[tuple[str, str]]:
    """Yield key and reason of what a broker in this container would lack. It serves without."""
    if reason := why_later_names_are_hidden():
        yield "", reason
    if limited_kinds(config.policy) and (reason := why_short_lived(Path(config.seal_path))):
        yield "broker.seal", f"limits: {reason}"


def _look_at_limits(config: Config) -> Limits:
    # If the policy has limits, loading it and looking at the places has already tested them.
    kinds, directory = limited_kinds(config.policy), Path(config.seal_path)
    if not kinds and (reason := why_unavailable() or why_no_place(directory)):
        return Limits(0, reason)
    swept = _ask(why_not_listed)
    if (weakness := _ask(why_no_second_wall)) is not None:
        return Limits(1, weakness, swept)
    if is_installed(directory) and (gone := missing_hooks(directory, kinds)):
        return Limits(
            1, f"the second wall has gaps: reload the broker, which attaches {', '.join(sorted(gone))}", swept
        )
    return Limits(2, "", swept)


def _ask(why_not: Callable[[], str | None]) -> str | None:
    """Return why this host can't do something, also if a later try could succeed."""
    try:
        return why_not()
    except (OSError, WallError) as error:
        return str(getattr(error, "strerror", None) or error)


def _lines(path: Path, report: Report) -> list[str]:
    """Return the lines about a configuration without problems."""
    lines = [f"{path}: no problem (grants: {report.grants})"]
    if not report.places_are_tested:
        lines.append(f"places of socket and audit, and engines: {_TAKES_ROOT}")
    lines += [f"engine: {line}" for line in report.engines.values()]
    lines += [f"this kernel can't make {kind} sockets: {reason}" for kind, reason in sorted(report.missing.items())]
    walls, reason, _ = report.limits or Limits(None)
    if walls is None:
        return [*lines, f"limits: {reason}"]
    if walls == 0:
        return [*lines, f"limits: this host can't enforce any: {reason}"]
    lines.append("limits: this host can enforce them")
    if walls > 1:
        lines.append("limits: by both walls")
    else:
        lines += [f"limits: only by the first wall: {reason}", *_UNHELD]
    if (swept := report.limits and report.limits.why_not_swept) is not None:
        lines += [line.format(swept) for line in _NOT_SWEPT]
    return lines


def _fields(path: Path, report: Report) -> dict[str, object]:
    limits = report.limits or Limits(None)
    return {
        "config": str(path),
        "ok": not report.problems,
        "serves": not any(problem.is_fatal for problem in report.problems),
        "grants": report.grants,
        "problems": [
            {"file": one.file, "line": one.line, "key": one.key or None, "reason": one.reason, "fatal": one.is_fatal}
            for one in report.problems
        ],
        "missing_kinds": dict(report.missing),
        "engines": dict(report.engines),
        "limits": {
            "walls": limits.walls,
            "reason": limits.reason or None,
            "reload_reaches_connected_sockets": None if not limits.walls else limits.why_not_swept is None,
        },
    }
