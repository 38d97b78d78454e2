"""The verb `list`: prints the namespaces that this user may use, and the sockets that each grant covers."""

from __future__ import annotations

from ..wire.messages import GrantSummary, NamespaceList
from .arguments import parse
from .command import Command
from .messages import REFUSED, FailureError, print_text, printable, usage_error

_OPTIONS = {"--json": False}
_HEADINGS = ("NAMESPACE", "SOCKETS", "BIND", "OPTIONS", "GRANT", "LIMIT")


def run(command: Command) -> int:
    """Print a table, or JSON."""
    options, wanted = parse(command.args, _OPTIONS, anywhere=True)
    if len(wanted) > 1:
        raise usage_error("list takes at most one namespace")
    rows = _rows(command.client.namespaces(), wanted)
    if wanted and not rows:
        text = f"no grant gives this user sockets in {wanted[0]}, or it does not exist"
        raise FailureError(f"{text}; nsbroker-get list shows all that you may use", REFUSED)
    text = _as_json(rows) if options else _as_table(rows)
    if not rows and not options:
        raise FailureError("no grant gives this user any socket: ask root for one, see nsbrokerd.toml(5)", REFUSED)
    print_text(text)
    return 0


def _rows(answer: NamespaceList, wanted: list[str]) -> list[tuple[str, GrantSummary]]:
    return [
        (name, answer.grants[index])
        for name, indices in answer.namespaces
        for index in indices
        if not wanted or name in wanted
    ]


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
