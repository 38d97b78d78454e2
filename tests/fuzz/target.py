"""A target: the function that checks one input, and all that the fuzzer needs to know about it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from . import targets


@dataclass(frozen=True)
class Target:
    """One kind of input.

    Attributes:
        check: raises an exception for an input that breaks a promise. Each exception counts.
        tokens: words that the fuzzer puts into inputs.
        max_bytes: the length of the longest input.
        mutate: changes an input, given its bytes, the most bytes, a seed and the fuzzer's own function for it. Default:
            the fuzzer's own function.
    """

    check: Callable[[bytes], None]
    tokens: tuple[bytes, ...] = ()
    max_bytes: int = 4096
    mutate: Callable[[bytes, int, int, Callable[[bytes, int], bytes]], bytes] | None = None


def names() -> list[str]:
    """Return the names of all targets."""
    return sorted(module.name for module in pkgutil.iter_modules(targets.__path__))


def load(name: str) -> Target:
    """Import a target, which imports the code that it checks."""
    target: Target = importlib.import_module(f"{targets.__name__}.{name}").TARGET
    return target
