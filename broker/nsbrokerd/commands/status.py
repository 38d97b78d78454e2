"""`nsbrokerd status` shows what the broker does: for people, or as JSON for programs."""

from __future__ import annotations

import argparse
import json
import sys

from ..config.paths import read_paths
from ..control.asking import AskError, UnreachableError, ask
from ..control.packets import STATUS, Fields, Request
from .common import add_config, report, warn_about
from .output import print_text, printable, table, user

_TIMEOUT_S = 5.0
_MOST_ROWS = 12
"""Rows of a table for people. JSON has all of them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_config(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--watch", action="store_true", help="print the status every second")


def run(arguments: argparse.Namespace) -> int:
    """Run the command. Return the exit status."""
    paths = read_paths(arguments.config)
    warn_about(paths)
    indent = None if arguments.watch else 2

    def make() -> str:
        try:
            fields = ask(paths.control, Request(STATUS), _TIMEOUT_S)
        except UnreachableError as error:
            if not arguments.watch:
                raise
            return _waiting(error)
        return json.dumps(fields, indent=indent) + "\n" if arguments.json else describe(fields)

    try:
        print_text(make, watch=arguments.watch)
    except AskError as error:
        return report(error)
    return 0


def _waiting(error: UnreachableError) -> str:
    """Tell a terminal that the broker is awaited. In a pipe, the error stands beside the output."""
    told = f"waiting for the broker: {error}\n"
    if sys.stdout.isatty():
        return told
    print(f"nsbrokerd: {told}", end="", file=sys.stderr)
    return ""


def describe(status: Fields) -> str:
    """Return the status as lines for people."""
    policy, reload, requests = status["policy"], status["reload"], status["requests"]
    if reload is None:
        outcome = "none since the start"
    else:
        problem = reload["problem"]
        outcome = f"{'succeeded' if problem is None else 'failed'} at {reload['time']}"
        outcome += "" if problem is None else f": {problem}"
    answered = ", ".join(f"{name} {number}" for name, number in requests["answered"].items())
    lines = [
        ("nsbrokerd", f"{status['version']}, pid {status['pid']}, up {duration(status['uptime_s'])}"),
        ("policy", f"{policy['file']}, grants: {policy['grants']}, in force since {policy['since']}"),
        ("reload", outcome),
        ("limits", "none" if status["walls"] is None else f"walls: {status['walls']}"),
        *(("FAULT", f"{place}: {fault}") for place, fault in status["faults"].items()),
        *(("engine", _engine(one)) for one in status["engines"]),
        ("clients", f"{status['clients']}, of {status['persons']} users"),
        ("requests", f"answered: {answered or 'none'}; refused: {requests['refused']}"),
    ]
    text = "".join(f"{name:<10} {printable(value)}\n" for name, value in lines)
    quotas = [
        (str(one["used"]), str(one["most"]), f"{100 * one['used'] / one['most']:.0f}%", one["quota"], _owner(one))
        for one in status["quotas"]
    ]
    text += "\n" + table(("USED", "OF", "", "QUOTA", "MOST BY"), quotas, numbers=3)
    text += _rows("SOCKETS", status["sockets"], ("grant", "namespace"))
    text += _rows("REFUSALS", status["refusals"], ("reason", "grant"))
    return text


def _engine(engine: Fields) -> str:
    fault = engine["fault"]
    state = "no answer to the last question" if fault else "answers" if engine["asked"] else "not asked yet"
    told = f"{engine['engine']}: {state}, asked: {engine['asked']}, failed: {engine['failed']}"
    return f"{told}; {fault}" if fault else told


def _owner(quota: Fields) -> str:
    return user(quota["uid"]) if quota["uid"] is not None and quota["used"] else ""


def _rows(heading: str, rows: list[Fields], names: tuple[str, str]) -> str:
    """Return the largest numbers of a table, or nothing if it is empty."""
    if not rows:
        return ""
    shown = [
        (
            str(row["count"]),
            user(row["uid"]),
            *("(others)" if row[name] is None else row[name] or "-" for name in names),
        )
        for row in rows[:_MOST_ROWS]
    ]
    more = len(rows) - len(shown)
    text = "\n" + table((heading, "USER", *(name.upper() for name in names)), shown, numbers=1)
    return text + (f"... and {more} more: see --json\n" if more else "")


def duration(seconds: int) -> str:
    """Return a time span for people."""
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    return (f"{days} d " if days else "") + f"{hour:02}:{minute:02}:{second:02}"
