"""Finds the person of a uid by the texts of /etc/passwd, /etc/group, /etc/subuid and /etc/subgid. Pure.

newuidmap(1) lets the processes of a user take any uid that a line of /etc/subuid delegates to this user. So all of
these uids are one person. The ids in subgid are gids, and no gid makes a person. But a grant for such a gid names the
user that it is delegated to.

Names are looked up in /etc/passwd alone. A directory service could take seconds, and the broker would wait. A user of
a directory service thus counts as two persons: its own uid, and all ids that are delegated to its name. A line can also
have the user's uid in place of the name, and then they are one person.

Source: subuid(5), subgid(5), and lib/subordinateio.c of shadow for the numbers.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from operator import itemgetter
from typing import NamedTuple

MAX_ID = 2**32 - 2
MAX_RANGES = 8192
"""More than a large host has users. So many lines take less than 100 ms, in which all clients wait."""

_NUMBER = re.compile(r"[ \t\n\v\f\r]*\+?(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))", re.ASCII)
"""As strtoul(3) reads it with base 0."""

_MAX_DIGITS = 24
"""More than any number of 64 bits has. The kernel's ids have 32."""

_SEVERAL = ""
"""The owner of ids that are delegated to several users. It is no name, so no line has it."""

Owner = int | str
"""The uid of an existing user, or any other name of a line."""


class TooManyRangesError(ValueError):
    """A file has more than MAX_RANGES lines."""


class Range(NamedTuple):
    """The ids `first` to `last`, which one line delegates to a name."""

    name: str
    first: int
    last: int


def parse_names(text: str) -> dict[str, int]:
    """Read the names and ids of /etc/passwd or /etc/group. The first line of a name counts. Bad lines are ignored."""
    ids: dict[str, int] = {}
    for line in text.split("\n"):
        name, *fields = line.split(":", 3)
        if name and name[0] not in "#+-" and len(fields) == 3 and fields[1].isascii() and fields[1].isdigit():
            ids.setdefault(name, int(fields[1][:_MAX_DIGITS]))
    return ids


def parse_ranges(text: str) -> list[Range]:
    """Read the lines of /etc/subuid or /etc/subgid. Bad lines are ignored, as by newuidmap(1).

    Raises:
        TooManyRangesError: there are too many lines.
    """
    ranges = []
    for line in text.split("\n"):
        fields = line.split(":")
        if len(fields) != 3 or not fields[0] or line.startswith("#"):
            continue
        first, count = map(_parse_number, fields[1:])
        if first is not None and count and first <= MAX_ID:
            ranges.append(Range(fields[0], first, min(first + count - 1, MAX_ID)))
            if len(ranges) > MAX_RANGES:
                raise TooManyRangesError(f"subuid or subgid has more than {MAX_RANGES} lines; merge some of them")
    return ranges


def _parse_number(text: str) -> int | None:
    if len(text) > _MAX_DIGITS:
        return None
    if text.isascii() and text.isdigit() and text[0] != "0":
        return int(text)
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    base16, base8, base10 = found.groups()
    return int(base16, 16) if base16 else int(base8, 8) if base8 else int(base10)


class Delegated:
    """The owners of delegated ids, and of no id that a user has by itself.

    Args:
        ranges: the lines of one file.
        users: the uids of existing users, by name.
        own: ids that are never delegated, such as the uids of users.
    """

    def __init__(self, ranges: Iterable[Range], users: dict[str, int], own: Collection[int]) -> None:
        self._own = frozenset(own)
        self._starts: list[int] = []
        self._owners: list[Owner | None] = []
        for start, owner in _cut(ranges, users):
            self._starts.append(start)
            self._owners.append(owner)
        self.first_of: dict[Owner, int] = {}
        # The last part has no owner, so it needs no end.
        for start, end, owner in zip(self._starts, self._starts[1:], self._owners, strict=False):
            if owner is not None and owner not in self.first_of:
                first = next((number for number in range(start, end) if number not in self._own), None)
                if first is not None:
                    self.first_of[owner] = first

    def owner_of(self, number: int) -> Owner | None:
        """Return the owner of an id, or None if it is not delegated."""
        if number in self._own:
            return None
        at = bisect_right(self._starts, number) - 1
        return self._owners[at] if at >= 0 else None


def _cut(ranges: Iterable[Range], users: dict[str, int]) -> Iterator[tuple[int, Owner | None]]:
    """Yield the first id of each part without an overlap, and the part's owner, in the order of the ids."""
    edges: list[tuple[int, int, Owner]] = []
    for name, first, last in ranges:
        owner = owner_of_line(name, users)
        edges += [(first, 1, owner), (last + 1, -1, owner)]
    edges.sort(key=itemgetter(0))
    active: dict[Owner, int] = {}
    for index, (at, change, owner) in enumerate(edges, 1):
        number = active.get(owner, 0) + change
        if number:
            active[owner] = number
        else:
            active.pop(owner, None)
        if index == len(edges) or edges[index][0] != at:
            yield at, next(iter(active), None) if len(active) < 2 else _SEVERAL


def owner_of_line(name: str, users: dict[str, int]) -> Owner:
    """Return the uid of the user that a line belongs to. Root's lines and those of other names keep their name.

    The name can be a uid. Lines of root are for containers of the system, and not for root's own clients.
    """
    uid = users.get(name)
    if uid is None and name.isascii() and name.isdigit() and len(name) <= _MAX_DIGITS and int(name) <= MAX_ID:
        uid = int(name)
    return uid or name


class Ids(NamedTuple):
    """The ids in /etc/passwd, /etc/group, /etc/subuid and /etc/subgid."""

    users: dict[str, int]
    groups: dict[str, int]
    uids: list[Range]
    gids: list[Range]


def parse_ids(passwd: str = "", group: str = "", subuid: str = "", subgid: str = "") -> Ids:
    """Read the texts of the four files.

    Raises:
        TooManyRangesError: there are too many lines.
    """
    return Ids(parse_names(passwd), parse_names(group), parse_ranges(subuid), parse_ranges(subgid))


class Delegations:
    """All delegated ids of a host, which tell the persons apart."""

    def __init__(self, ids: Ids) -> None:
        users = ids.users
        # A line for a uid says that there is such a user, even if a directory service has its name.
        numbers = [owner for one in ids.uids if isinstance(owner := owner_of_line(one.name, users), int)]
        self._uids = Delegated(ids.uids, users, {0, *users.values(), *numbers})
        self._gids = Delegated(ids.gids, users, {0, *ids.groups.values()})

    def person_of(self, uid: int) -> int:
        """Return the uid that stands for the person: the user's own, or the first uid of another line."""
        owner = self._uids.owner_of(uid)
        if owner is None:
            return uid
        return owner if isinstance(owner, int) else self._uids.first_of[owner]

    def persons_named(self, uids: Iterable[int], gids: Iterable[int]) -> frozenset[int]:
        """Return the persons that have one of these uids, or that one of these gids is delegated to."""
        owners = [owner for gid in gids if (owner := self._gids.owner_of(gid)) not in (None, _SEVERAL)]
        of_gids = [owner if isinstance(owner, int) else self._uids.first_of.get(owner) for owner in owners if owner]
        return frozenset([*map(self.person_of, uids), *(person for person in of_gids if person is not None)])


EVERYBODY = f"unreadable:1:{MAX_ID}"
"""In place of a subuid that can't be read: all uids that no user has by itself are one person."""
