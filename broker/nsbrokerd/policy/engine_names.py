"""Names such as `podman:web`: a container engine's word, a colon, and the name of a container or pod. Pure.

The syntax is checked before an engine is asked. Engines also find containers by ids and by the beginnings of ids, and
an id looks like a name. So the answer of an engine must be compared with the name as well.
Source: RestrictedNamePattern in docker's daemon/names/names.go, NameRegex in podman's libpod/define, and "Object Names
and IDs" of Kubernetes.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from nsbroker.wire.bounds import MAX_NAME_BYTES

ENGINES = ("podman", "docker", "pod")
"""The words that an administrator can switch on. Pods are asked for at the Container Runtime Interface (CRI)."""

_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# A label of DNS, a dot, and a subdomain of DNS.
_POD = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)+")


class NameError_(Exception):  # noqa: N801 - NameError is a name of Python
    """The prefix is an engine's, and the rest can't be a name. The message says which names are legal."""


class EngineName(NamedTuple):
    """A legal name of a container or pod. Its text is "podman:web"."""

    engine: str
    """One of ENGINES."""

    name: str
    """A container's name, or "NAMESPACE.NAME" of a pod."""

    def __str__(self) -> str:
        return f"{self.engine}:{self.name}"


def parse_engine_name(text: str, engines: Collection[str]) -> EngineName | None:
    """Return the engine and the name in a text, or None if the text is a plain name.

    Args:
        text: a name, as a client or a grant has it.
        engines: the words of ENGINES that are switched on. Only these are reserved.

    Raises:
        NameError_: the text begins with an engine's word and a colon, and the rest is not a legal name.
    """
    engine, colon, name = text.partition(":")
    if not colon or engine not in engines:
        return None
    if engine == "pod":
        pattern, kind = _POD, "pod"
        form = "NAMESPACE.NAME of small letters, digits, '-' and '.', as in pod:default.web-0"
    else:
        pattern, kind = _CONTAINER, "container"
        form = f"letters, digits, '_', '.' and '-', with a letter or digit first, as in {engine}:web"
    # All characters that the patterns allow are one byte long.
    if len(text) > MAX_NAME_BYTES or not pattern.fullmatch(name):
        raise NameError_(f"no {kind} can have this name: use {form}, and at most {MAX_NAME_BYTES} bytes in all")
    return EngineName(engine, name)
