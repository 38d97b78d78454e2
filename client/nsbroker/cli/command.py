"""The command line up to the verb's own arguments, and the texts of `--help` and `--version`."""

from __future__ import annotations

import os

from ..drivers.thread import Client
from ..wire.bounds import MAX_NAME_BYTES, MAX_WAIT_S
from ..wire.record import Record
from .arguments import parse, seconds
from .messages import print_text, usage_error
from .patience import say_if_long

VERBS = ("connect", "explain", "listen", "proxy", "resolve", "run", "socket")
"""The verbs that follow a namespace. The verb `list` also stands alone."""

OWN, _HOST = "@own", "@host"
OWN_BY_PATH = "@own stands for your own namespaces: give one by its path, such as /proc/PID/ns/net"

_OPTIONS = {"--broker": True, "--timeout": True, "--wait": True, "-h": False, "--help": False, "--version": False}
_HELP = ("-h", "--help")
_HELP_WORDS = 2
_TEXTS = os.path.join(os.path.dirname(__file__), "help")


class Command(Record):
    """A command line, read as far as the verb.

    Attributes:
        verb: a verb, "help" or "version".
        namespace: a namespace's name or path ("": the verb takes no namespace).
        args: the verb's own arguments. For "help", the topic, if any.
        client: the way to the broker.
        wait_s: seconds to wait for a namespace that does not exist yet.
    """

    verb: str
    namespace: str
    args: list[str]
    client: Client
    wait_s: float


def read_command(args: list[str]) -> Command:
    """Read `[options] NS VERB ...`, `[options] NS -- CMD ...`, `[options] list [NS]`, `--help` or `--version`.

    Raises:
        FailureError: the arguments have another form.
    """
    options, rest = parse(args, _OPTIONS)
    given = dict(options)
    client = _client(given)
    wait_s = seconds("--wait", given.get("--wait", "0"), MAX_WAIT_S)
    if "-h" in given or "--help" in given:
        return Command("help", "", [], client, wait_s)
    if "--version" in given:
        return Command("version", "", [], client, wait_s)
    namespace, verb, verb_args = _split(options, rest)
    if verb_args[:1] and verb_args[0] in _HELP:
        return Command("help", namespace, [verb], client, wait_s)
    if verb in VERBS:
        check_name(namespace)
    say_if_long(client, namespace, wait_s)
    return Command(verb, namespace, verb_args, client, wait_s)


def _client(given: dict[str, str]) -> Client:
    timeout_s = seconds("--timeout", given.get("--timeout", "5"))
    if not timeout_s:
        raise usage_error("--timeout takes more than 0 seconds")
    return Client(given.get("--broker"), timeout_s)


def check_name(namespace: str) -> None:
    """Check that a word can be the name of a namespace, or a path.

    Raises:
        FailureError: it can't.
    """
    if "/" in namespace:
        return
    if namespace.startswith("@") and namespace != _HOST:
        raise usage_error(OWN_BY_PATH if namespace == OWN else f"{namespace!r} is no name: only @host begins with an @")
    try:
        is_name = 1 <= len(namespace.encode()) <= MAX_NAME_BYTES
    except UnicodeEncodeError:
        is_name = False
    if not is_name:
        raise usage_error(f"a namespace's name is UTF-8 of 1 to {MAX_NAME_BYTES} bytes, not {namespace[:40]!r}")


def _split(options: list[tuple[str, str]], rest: list[str]) -> tuple[str, str, list[str]]:
    if not rest:
        raise usage_error("a namespace and a verb are missing")
    namespace, verb = rest[0], rest[1] if len(rest) > 1 else ""
    # `help VERB` asks for help. With further words, `help` is the name of a namespace.
    if namespace == "help" and len(rest) <= _HELP_WORDS:
        return "", "help", _topic(verb)
    if verb in VERBS:
        return namespace, verb, rest[2:]
    if verb in (*_HELP, "help"):
        return "", "help", [namespace] if namespace in (*VERBS, "list") else []
    if verb == "--":
        return namespace, "run", rest[1:]
    if namespace == "list":
        return "", "list", rest[1:]
    if verb == "list":
        return namespace, "list", [*rest[2:], namespace]
    if rest == ["version"]:
        return "", "version", []
    from .word_order import wrong_words

    raise wrong_words(options, rest, VERBS)


def _topic(verb: str) -> list[str]:
    if not verb or verb in _HELP:
        return []
    if verb in (*VERBS, "list"):
        return [verb]
    from .word_order import wrong_topic

    raise wrong_topic(verb, (*VERBS, "list"))


def print_help(command: Command) -> int:
    """Print the version, the help of one verb, or the overview of all verbs."""
    if command.verb == "version":
        print_text(f"nsbroker-get {_version()}\n")
    else:
        print_text(help_text(*command.args))
    return 0


def help_text(topic: str = "nsbroker-get") -> str:
    """Return the text about a verb, or by default about all verbs. It is the file help/TOPIC.txt."""
    with open(os.path.join(_TEXTS, f"{topic}.txt"), encoding="utf-8") as file:
        return file.read()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("nsbroker")
    except PackageNotFoundError:
        return "(not installed)"
