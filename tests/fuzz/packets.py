"""Changes msgpack packets as trees, since a packet with a changed byte is mostly no packet any more."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgpack

_ODD = (
    None, False, True, 0, 1, 2, 3, -1, 15, 16, 17, 32, 127, 128, 132, 252, 253, 255, 256, 2048, 65535, 65536, 2**20,
    2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, -(2**31), -(2**31) - 1, -(2**63), 0.0, -0.0, 0.5,
    60, 60.5, 61, 1e308, float("inf"), float("nan"), "", "@host", "@own", "blue", "a/b", "..", "\0", "\ud7ff",
    "é" * 130, "x" * 256, b"", b"\0", b"eth0", b"x" * 107, b"x" * 257, [], {}, [[]], {"fd": 0}, {"fd": 15}, {"fd": 16},
    ["127.0.0.1", 80], ["::1", 80, 0, 0], ["::ffff:10.0.0.1", 0, 0, 0], ["eth0", 3], ["0.0.0.0", 0], [1, 36, 16],
    [1, 25, b"eth0"], [0, 19, 1],
)  # fmt: skip


def mutator(keys: tuple[str, ...]) -> Callable[[bytes, int, int, Callable[[bytes, int], bytes]], bytes]:
    """Return a function that changes packets with these keys, for `Target.mutate`."""

    def mutate(data: bytes, most: int, seed: int, change_bytes: Callable[[bytes, int], bytes]) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.2:
            return change_bytes(data, most)
        try:
            tree = msgpack.unpackb(data, strict_map_key=False)
            for _ in range(chance.choice((1, 1, 1, 2, 3))):
                tree = _change(tree, chance, keys)
            packed: bytes = msgpack.packb(tree)
        except Exception:
            return change_bytes(data, most)
        return packed if len(packed) <= most else change_bytes(data, most)

    return mutate


def _change(tree: Any, chance: random.Random, keys: tuple[str, ...]) -> Any:
    """Change one place of a tree. It walks down, and stops somewhere."""
    if isinstance(tree, dict) and tree and chance.random() < 0.8:
        key = chance.choice(list(tree))
        return {**tree, key: _change(tree[key], chance, keys)}
    if isinstance(tree, list) and tree and chance.random() < 0.8:
        index = chance.randrange(len(tree))
        return [*tree[:index], _change(tree[index], chance, keys), *tree[index + 1 :]]
    if isinstance(tree, dict) and chance.random() < 0.8:
        changed = dict(tree)
        if tree and chance.random() < 0.4:
            del changed[chance.choice(list(tree))]
        else:
            changed[chance.choice(keys)] = chance.choice(_ODD)
        return changed
    if isinstance(tree, list) and chance.random() < 0.8:
        item = chance.choice(tree) if tree and chance.random() < 0.6 else chance.choice(_ODD)
        return chance.choice((tree[1:], [*tree, item], [item, *tree], tree * chance.choice((2, 3, 8))))
    if isinstance(tree, int) and not isinstance(tree, bool) and chance.random() < 0.4:
        return tree + chance.choice((-1, 1, 2**16, 1 << chance.randrange(63)))
    if isinstance(tree, str | bytes) and tree and chance.random() < 0.4:
        at = chance.randrange(len(tree))
        return tree[:at] + tree[at + 1 :] if chance.random() < 0.5 else tree[:at] + tree[at:] * 2
    return chance.choice((*_ODD, chance.choice(keys)))
