"""nsswitch.conf(5): the sources of host names, and their order.

Source: nss/nss_database.c and nss/nss_action_parse.c in glibc.
"""

from __future__ import annotations

import re

from ...wire.record import Record

SUCCESS, NOTFOUND, UNAVAIL, TRYAGAIN = "SUCCESS", "NOTFOUND", "UNAVAIL", "TRYAGAIN"
_STATUSES = frozenset({SUCCESS, NOTFOUND, UNAVAIL, TRYAGAIN})


class Source(Record):
    """A source of names, such as "files" or "dns", and the results after which no further source is asked."""

    name: str
    last_after: frozenset[str] = frozenset({SUCCESS})


DEFAULT: tuple[Source, ...] = (Source("files"), Source("dns"))
"""The sources if the file does not name them."""


def parse(text: str) -> tuple[Source, ...]:
    """Return the sources of the last line about hosts. A line that is not valid names no source, as for glibc."""
    sources = DEFAULT
    for line in text.split("\n"):
        if match := re.match(r"\s*hosts(?:[\s:]+|$)", line):
            sources = _sources(line[match.end() :])
    return sources


def _sources(text: str) -> tuple[Source, ...]:
    sources: list[Source] = []
    position = 0
    while match := re.compile(r"\s*([^\s\[]+)\s*").match(text, position):
        position = match.end()
        source = Source(match[1])
        if text.startswith("[", position):
            end = text.find("]", position)
            last_after = _last_after(text[position + 1 : end]) if end >= 0 else None
            if last_after is None:
                return ()
            source = Source(match[1], last_after)
            position = end + 1
        sources.append(source)
    return tuple(sources)


def _last_after(text: str) -> frozenset[str] | None:
    """Read the actions in brackets, for example "!UNAVAIL=return". Return `None` if they are not valid."""
    last_after = {SUCCESS}
    if not re.fullmatch(r"\s*(!?[A-Za-z]+\s*=\s*(?i:return|continue|merge)\s*)+", text):
        return None
    for negated, status, action in re.findall(r"(!?)([A-Za-z]+)\s*=\s*([A-Za-z]+)", text):
        if status.upper() not in _STATUSES:
            return None
        meant = _STATUSES - {status.upper()} if negated else {status.upper()}
        last_after = last_after | meant if action.lower() == "return" else last_after - meant
    return frozenset(last_after)
