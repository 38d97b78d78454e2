"""The command line: what comes before the verb's own arguments."""

from __future__ import annotations

from ..drivers.client import Client
from ..wire.limits import MAX_NAME_BYTES, MAX_WAIT_S
from ..wire.record import Record
from .failure import usage_error
from .options import parse, seconds

VERBS = ("connect", "listen", "resolve", "run", "socket")
"""What is said after a namespace."""

_OPTIONS = {"--broker": True, "--timeout": True, "--wait": True, "-h": False, "--help": False, "--version": False}
_HELP = ("-h", "--help")


class Command(Record):
    """A command line: `args` are the verb's own; `namespace` is "" where the verb needs none."""

    verb: str
    namespace: str
    args: list[str]
    client: Client
    wait_s: float


def read_command(args: list[str]) -> Command:
    """Read `[options] NS VERB ...`, `[options] NS -- CMD ...`, `[options] list [NS]`, `--help` and `--version`.

    The verb "help" has its topic in `args`: a verb, or nothing.

    Raises:
        FailureError: it is none of these.
    """
    options, rest = parse(args, _OPTIONS)
    given = dict(options)
    client = _client(given)
    wait_s = seconds("--wait", given.get("--wait", "0"), MAX_WAIT_S)
    if "-h" in given or "--help" in given:
        return Command("help", "", [], client, wait_s)
    if "--version" in given:
        return Command("version", "", [], client, wait_s)
    namespace, verb, verb_args = _split(rest)
    if verb_args[:1] and verb_args[0] in _HELP:
        return Command("help", namespace, [verb], client, wait_s)
    if verb in VERBS and "/" not in namespace:
        _check_name(namespace)
    return Command(verb, namespace, verb_args, client, wait_s)


def _client(given: dict[str, str]) -> Client:
    timeout_s = seconds("--timeout", given.get("--timeout", "5"))
    if not timeout_s:
        raise usage_error("--timeout takes more than 0 seconds")
    return Client(given.get("--broker"), timeout_s)


def _check_name(namespace: str) -> None:
    try:
        is_name = 1 <= len(namespace.encode()) <= MAX_NAME_BYTES
    except UnicodeEncodeError:
        is_name = False
    if not is_name:
        raise usage_error(f"a namespace's name is UTF-8 of 1 to {MAX_NAME_BYTES} bytes, not {namespace[:40]!r}")


def _split(rest: list[str]) -> tuple[str, str, list[str]]:
    if not rest:
        raise usage_error("a namespace and a verb are missing")
    namespace, verb = rest[0], rest[1] if len(rest) > 1 else ""
    if verb in VERBS:
        return namespace, verb, rest[2:]
    if verb in _HELP:
        return "", "help", [namespace] if namespace in (*VERBS, "list") else []
    if verb == "--":
        return namespace, "run", rest[1:]
    if namespace == "list":
        return "", "list", rest[1:]
    if verb == "list":
        return namespace, "list", [*rest[2:], namespace]
    what = f"unknown verb {verb!r}" if verb else f"what to do in {namespace!r} is missing"
    raise usage_error(f"{what}: {', '.join(VERBS)} or list")
