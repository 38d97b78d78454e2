"""Requests that differ from earlier ones in their id alone: they are not decoded anew. Pure.

Most clients ask for one socket at a time and for the same again and again: a proxy's connections, a monitor's probes.
To decode and check one of these costs as much as to make its socket.
"""

from __future__ import annotations

from nsbroker.wire import MAX_REQUEST_ID, OpenRequest, Request, SocketSpec

from ..policy.plans import is_common, read_request

_MAX_ENTRIES = 16384
"""More than a large host has namespaces, so that who goes round all of them finds them here."""
_MAX_BODY_BYTES = 256

_HEAD = b"\x84\xa1v\x01\xa2id"
"""How {"v": 1, "id": ...} of four keys begins: as the client library writes it. Other orders are decoded each time."""

_ONE_BYTE_MAX = 0x7F
_INTEGERS = {0xCC: (1, _ONE_BYTE_MAX), 0xCD: (2, 2**8 - 1), 0xCE: (4, 2**16 - 1), 0xCF: (8, 2**32 - 1)}
"""For the first byte of an unsigned integer in msgpack: how many bytes follow, and what a shorter one could say."""


class RequestReader:
    """Decodes requests, and remembers those for one socket in a named namespace that are common."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[SocketSpec, ...]] = {}

    def read(self, packet: bytes) -> tuple[Request, int]:
        """Decode a request; gives also the number of descriptors that it says it brings.

        Raises:
            ProtocolError: it does not follow the protocol.
        """
        split = _split(packet)
        if split is None:
            return read_request(packet)
        request_id, body = split
        # One map with the same head and the same body was read before, so this is one as well.
        sockets = self._known.get(body)
        if sockets is not None:
            return OpenRequest(request_id, sockets), 0
        request, named = read_request(packet)
        if type(request) is OpenRequest and not named and not request.wait_s and is_common(request.sockets):
            if len(self._known) >= _MAX_ENTRIES:
                self._known.clear()
            self._known[body] = request.sockets
        return request, named


def _split(packet: bytes) -> tuple[int, bytes] | None:
    """Take a packet's id out: (id, what follows it); None when it does not begin in the usual way."""
    if len(packet) > _MAX_BODY_BYTES or not packet.startswith(_HEAD) or len(packet) == len(_HEAD):
        return None
    start = len(_HEAD) + 1
    number = packet[start - 1]
    if number > _ONE_BYTE_MAX:
        length, too_small = _INTEGERS.get(number, (0, MAX_REQUEST_ID))
        start += length
        number = int.from_bytes(packet[start - length : start], "big")
        if not too_small < number <= MAX_REQUEST_ID:
            return None
    return number, packet[start:]
