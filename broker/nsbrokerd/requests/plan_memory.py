"""Remembers the plans of common requests by the bytes of their packets. Pure.

Most clients request one socket at a time, and the same one again and again: a proxy's connections, a monitor's probes.
Decoding and planning a request takes half as long as making its socket.
"""

from __future__ import annotations

from nsbroker.wire import MAX_REQUEST_ID, OpenRequest, SocketSpec, make_record

from ..policy import Policy, Subject
from ..policy.plans import Plan

_MAX_REMEMBERED = 16384
"""More than a large host has namespaces, so that a client that visits all of them in turn finds them here."""
_MAX_REMEMBERED_SUBJECTS = 1024
"""A user with subordinate ids can choose its groups, 256 at once, so that it appears as many subjects."""
_MAX_REMEMBERED_BYTES = 256
_MAX_REMEMBERED_OPTIONS = 4

_HEADS = (b"\x84\xa1v\x01\xa2id", b"\x85\xa1v\x01\xa2id")
"""The beginning of a map of four keys, {"v": 1, "id": ...}, as the client library writes it. Five are for a stock."""
_HEAD_BYTES = len(_HEADS[0])

_ONE_BYTE_MAX = 0x7F
_INTEGERS = {0xCC: (1, _ONE_BYTE_MAX), 0xCD: (2, 2**8 - 1), 0xCE: (4, 2**16 - 1), 0xCF: (8, 2**32 - 1)}
"""By the first byte of an unsigned integer in msgpack: its further bytes, and the largest number for a shorter one."""

Known = tuple[tuple[SocketSpec, ...], Plan, int]
"""The sockets of a request that was received before, their plan, and the number for a stock."""


class PlanMemory:
    """The plans of requests that came before, by one policy.

    It remembers requests for one socket that is not bound, has few options, and is in a namespace with a name. Such a
    request takes at most 3 KB of memory, and usually 1 KB.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._known: dict[Subject, dict[bytes, Known]] = {}
        self._count = 0

    def recall(self, subject: Subject, packet: bytes) -> tuple[OpenRequest, Plan] | None:
        """Return the request of a packet and its plan if it is known."""
        known = self._known.get(subject)
        if known is None or (split := _split(packet)) is None:
            return None
        request_id, body = split
        # An earlier packet with the same head and the same body was one correct map, so this packet is one as well.
        found = known.get(body)
        return (
            None if found is None else (make_record(OpenRequest, (request_id, found[0], 0, found[2], False)), found[1])
        )

    def remember(self, subject: Subject, packet: bytes, request: OpenRequest, planned: Plan) -> None:
        """Remember the plan of a packet, if it is a common one."""
        if not _is_common(request) or (split := _split(packet)) is None:
            return
        if self._count >= _MAX_REMEMBERED or len(self._known) >= _MAX_REMEMBERED_SUBJECTS:
            self._known.clear()
            self._count = 0
        self._known.setdefault(subject, {})[split[1]] = request.sockets, planned, request.stock
        self._count += 1


def _is_common(request: OpenRequest) -> bool:
    spec, *more = request.sockets
    return (
        not (more or request.wait_s or request.is_grouped)
        and isinstance(spec.namespace, str)
        and spec.bind is None
        and spec.listen is None
        and len(spec.options) <= _MAX_REMEMBERED_OPTIONS
    )


def _split(packet: bytes) -> tuple[int, bytes] | None:
    """Return a packet's id, and its first byte with those after the id, if the packet begins in the usual way."""
    if not _HEAD_BYTES < len(packet) <= _MAX_REMEMBERED_BYTES or not packet.startswith(_HEADS):
        return None
    start = _HEAD_BYTES + 1
    number = packet[start - 1]
    if number > _ONE_BYTE_MAX:
        length, too_small = _INTEGERS.get(number, (0, MAX_REQUEST_ID))
        start += length
        number = int.from_bytes(packet[start - length : start], "big")
        if not too_small < number <= MAX_REQUEST_ID:
            return None
    return number, packet[:1] + packet[start:]
