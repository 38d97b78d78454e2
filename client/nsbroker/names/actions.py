"""What a look-up asks its driver to do, and what the driver sends back. `plan` tells the whole contract."""

from __future__ import annotations

from ..wire.record import Record
from .hosts import Hosts
from .resolv_conf import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any, TypeAlias, TypeVar

    T = TypeVar("T")

    SocketAddress: TypeAlias = tuple[str, int] | tuple[str, int, int, int]


class Configuration(Record):
    """The namespace's files, read, and words to name them by in errors.

    `origin` is where the resolv.conf came from; `namespace` is the namespace's name, or "" if it has none.
    """

    settings: Settings
    hosts: Hosts
    origin: str = "/etc/resolv.conf"
    namespace: str = ""


class Ask(Record):
    """Ask a name server: drop the socket of the last `Ask`, open one of this family and type, connect, send, read once.

    `packets` are sent one by one; for TCP they are ready to send, with their lengths in front.

    Sent back: what was read, at most 65,535 bytes (from TCP any part of the stream, b"" at its end); or, not raised,
    the OSError that any of it ended with. It is a TimeoutError when `timeout_s` passed since the socket was opened.
    """

    family: int
    type: int
    address: SocketAddress
    packets: tuple[bytes, ...]
    timeout_s: float


class Read(Record):
    """Read once more from the socket of the last `Ask`, within its time. Sent back: as for `Ask`."""


class Configure(Record):
    """Read the namespace's files. Sent back: a `Configuration`; what goes wrong is raised, and ends the look-up."""


class FindInterface(Record):
    """Find an interface of the namespace. Sent back: its index, or 0 when there is none of this name."""

    name: str


class NameInterface(Record):
    """Name an interface of the namespace. Sent back: its name, or "" when there is none of this index."""

    number: int


class FindSources(Record):
    """Find the address from which the namespace would send to each destination.

    Sent back: a tuple with an address for each, None for one without a route; or None if the policy does not let us
    know.
    """

    destinations: tuple[SocketAddress, ...]


class FindFamilies(Record):
    """Find for which families the namespace has an address beside loopback. Sent back: a frozenset of families."""


if TYPE_CHECKING:
    Action: TypeAlias = Ask | Read | Configure | FindInterface | NameInterface | FindSources | FindFamilies
    # What is sent depends on what was yielded: each action says its own.
    Steps: TypeAlias = Generator[Action, Any, T]
