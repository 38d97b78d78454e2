"""Who asks: the part of a peer that decides."""

from __future__ import annotations

from typing import NamedTuple


class Subject(NamedTuple):
    """A peer's user id, and its group ids: the effective one and the supplementary ones.

    The process id is no part of it: it can be handed on and reused.
    """

    uid: int
    groups: frozenset[int]
