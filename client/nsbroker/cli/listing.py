"""The verb `list`: prints the namespaces that this user may use, and the sockets that each grant covers."""

from __future__ import annotations

import socket

from ..wire.messages import Explanation, GrantSummary, NamespaceList, SocketSpec
from .arguments import parse
from .command import OWN, OWN_BY_PATH, Command, check_name
from .messages import REFUSED, FailureError, print_text, printable, say, usage_error

_OPTIONS = {"--json": False}
_HEADINGS = ("NAMESPACE", "SOCKETS", "BIND", "OPTIONS", "GRANT", "LIMIT")


_ASK_ROOT = "ask the administrator for a grant: see nsbrokerd.toml(5)"


def run(command: Command) -> int:
    """Print a table, or JSON."""
    options, wanted = parse(command.args, _OPTIONS, anywhere=True)
    if len(wanted) > 1:
        raise usage_error("list takes at most one namespace")
    if wanted:
        if wanted[0] != OWN:
            check_name(wanted[0])
        rows, hint = _rows_of(command, wanted[0])
    else:
        answer = command.client.namespaces()
        rows, hint = _rows(answer), _hint(answer)
        for engine, reason in answer.engines.items():
            say(f"the containers of {engine} are not listed: {reason}")
    if rows or options:
        print_text(_as_json(rows) if options else _as_table(rows))
    if not rows and (wanted or not options):
        raise FailureError(hint, REFUSED)
    if rows and hint:
        say(hint)
    return 0


def _rows(answer: NamespaceList) -> list[tuple[str, GrantSummary]]:
    return [(name, answer.grants[index]) for name, indices in answer.namespaces for index in indices]


def _hint(answer: NamespaceList) -> str:
    """Return why no namespace is listed, or a hint about those that are ("": they need none)."""
    if answer.namespaces:
        return "" if any(name != OWN for name, _ in answer.namespaces) else OWN_BY_PATH
    if not answer.grants:
        return f"no grant gives this user any socket: {_ASK_ROOT}"
    names = ", ".join(repr(grant.name) for grant in answer.grants)
    text = f"your grants ({names}) cover no namespace that exists now"
    return f"{text}: nsbroker-get list NS shows what you may do in NS, also before it exists"


def _rows_of(command: Command, namespace: str) -> tuple[list[tuple[str, GrantSummary]], str]:
    """Return the rows of one namespace, and a hint about it. It may be a path, or a name that does not exist yet."""
    hint = f"no grant gives this user sockets in {namespace}: {_ASK_ROOT}. nsbroker-get list shows your grants"
    if "/" not in namespace:
        rows = [row for row in _rows(command.client.namespaces()) if row[0] == namespace]
        # "@own" is no namespace by itself, but a rule for all namespaces that this user owns.
        if namespace == OWN:
            return rows, OWN_BY_PATH if rows else hint
        if rows or namespace.startswith("@"):
            return rows, "" if rows else hint
    answer: Explanation = command.client.explain(SocketSpec(namespace, int(socket.AF_INET), int(socket.SOCK_STREAM), 0))
    rows = [(namespace, grant) for grant in answer.grants]
    if rows:
        hint = "" if answer.exists else f"{namespace} does not exist now: nsbroker-get --wait SECONDS waits for it"
    return rows, hint


def _as_json(rows: list[tuple[str, GrantSummary]]) -> str:
    import json

    namespaces: dict[str, list[dict[str, object]]] = {}
    for name, grant in rows:
        fields = grant._asdict() | {"limit": _limits(grant)}
        namespaces.setdefault(name, []).append({"grant": fields.pop("name"), **fields})
    return json.dumps([{"namespace": name, "grants": grants} for name, grants in namespaces.items()], indent=2) + "\n"


def _as_table(rows: list[tuple[str, GrantSummary]]) -> str:
    lines = [_HEADINGS, *(_cells(name, grant) for name, grant in rows)]
    # Leave out empty columns, and the padding of the last one.
    used = [column for column in range(len(_HEADINGS)) if any(line[column] != "-" for line in lines[1:])]
    widths = {column: max(len(line[column]) for line in lines) for column in used}
    return "".join("  ".join(line[column].ljust(widths[column]) for column in used).rstrip() + "\n" for line in lines)


def _cells(name: str, grant: GrantSummary) -> tuple[str, ...]:
    limit = ", ".join(f"{key} {' '.join(texts) or 'nowhere'}" for key, texts in _limits(grant).items())
    cells = (name, *map(" ".join, (grant.sockets, grant.bind, grant.options)), grant.name, limit)
    return tuple(printable(cell) or "-" for cell in cells)


def _limits(grant: GrantSummary) -> dict[str, list[str]]:
    """Return the keys of `limit` that the grant has, named as in the policy. Without a key there is no limit."""
    return {key: list(texts) for key, texts in grant.limit._asdict().items() if texts is not None}
