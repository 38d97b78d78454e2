"""`Host`: the names and addresses of one host, as one source of names has them."""

from __future__ import annotations

from ..wire.record import Record


class Host(Record):
    """A host. Source: struct hostent of gethostbyname(3).

    Attributes:
        canonical: its official name.
        aliases: its other names.
        addresses: (family, address in its usual form), in the order of the source.
    """

    canonical: str
    aliases: tuple[str, ...]
    addresses: tuple[tuple[int, str], ...]
