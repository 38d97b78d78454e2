"""The file of one grant that `nsbrokerd grant` writes: its name and its text. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from typing import NamedTuple

from ..config.table import MAX_NAME_CHARACTERS, did_you_mean
from ..policy import AddressRule, NamespaceRule, OptionRule
from ..policy.engine_names import ENGINES
from ..policy.kinds import KINDS
from .marked_text import mark

_MOST_BYTES = 100
"""Of a part of a file's name. A longer part is cut, and a digest tells it from others."""


class Wish(NamedTuple):
    """A grant for one user in one namespace, or in all that a pattern covers. `connect` None means anywhere."""

    user: str
    namespace: str
    sockets: tuple[str, ...] = ("tcp", "udp")
    bind: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    connect: tuple[str, ...] | None = None


def check(wish: Wish) -> None:
    """Refuse a grant that no configuration can have.

    Raises:
        ValueError: the message names the value and the remedy.
    """
    for text in (wish.user, wish.namespace):
        if not text.isprintable():
            raise ValueError(f"{text!r} has characters that can't be printed: write this grant into a file yourself")
    if wish.namespace.startswith("!"):
        raise ValueError(f"{wish.namespace!r} only takes namespaces away: name one, or a pattern like 'tenant-*'")
    NamespaceRule.parse([wish.namespace], ENGINES)  # whether its engine is switched on is for the configuration
    for kind in wish.sockets:
        if kind not in KINDS:
            advice = did_you_mean(kind, KINDS) or f"use some of {', '.join(KINDS)}"
            raise ValueError(f"{kind!r} is not a kind of socket: {advice}")
    for rule in (*wish.bind, *(wish.connect or ())):
        AddressRule.parse(rule)
    for option in wish.options:
        OptionRule.parse(option)


def file_name(user: str, namespace: str) -> str:
    """Return a name that no other pair has, that leads nowhere else, and that the broker reads."""
    return f"{_part(user)}+{_part(namespace)}.toml"


def _part(text: str) -> str:
    """Return a text in letters, digits, "-" and "_". Each other byte becomes "%" and two digits."""
    data = text.encode(errors="surrogateescape")
    part = re.sub(rb"[^A-Za-z0-9_-]", lambda found: b"%%%02x" % found[0][0], data).decode()
    return part if len(part) <= _MOST_BYTES else f"{part[:_MOST_BYTES]}%{_digest(data)}"


def grant_name(user: str, namespace: str) -> str:
    """Return the name of the grant in the audit and in refusals."""
    name = f"{user} in {namespace}"
    if len(name) <= MAX_NAME_CHARACTERS:
        return name
    digest = _digest(name.encode(errors="surrogateescape"))
    return f"{name[: MAX_NAME_CHARACTERS - len(digest) - 1]} {digest}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def text_of(wish: Wish) -> str:
    """Return the file of a grant."""
    lines = [
        "[[grant]]",
        f"name = {_string(grant_name(wish.user, wish.namespace))}",
        f"users = {_strings((wish.user,))}",
        f"namespaces = {_strings((wish.namespace,))}",
        f"sockets = {_strings(wish.sockets)}",
    ]
    lines += [f"{key} = {_strings(rules)}" for key, rules in (("bind", wish.bind), ("options", wish.options)) if rules]
    if wish.connect is not None:
        lines.append(f"limit = {{ connect = {_strings(wish.connect)} }}")
    return mark("\n".join(lines) + "\n", "grant")


def _strings(texts: tuple[str, ...]) -> str:
    return f"[{', '.join(map(_string, texts))}]"


def _string(text: str) -> str:
    # TOML's basic strings have the escapes of JSON. Printable text needs only those of quotes and backslashes.
    return json.dumps(text, ensure_ascii=False)
