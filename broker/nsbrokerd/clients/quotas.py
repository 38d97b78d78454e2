"""Quotas: how much of the broker all clients together, one person and one client may use. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from nsbroker.wire import MAX_PACKET_BYTES


@dataclass(frozen=True, slots=True)
class Quotas:
    """How much of the broker may be used.

    Attributes:
        clients: connections of all persons together. Those that no grant names get half of them.
        clients_per_user: connections of one person.
        requests_per_second: requests of one person, over all of its connections.
        packet_bytes: the length of one request.
        reply_timeout_s: seconds that a client may leave its replies unread.
    """

    clients: int = 4096
    clients_per_user: int = 1024
    requests_per_second: int = 20000
    packet_bytes: int = MAX_PACKET_BYTES
    reply_timeout_s: int = 10
