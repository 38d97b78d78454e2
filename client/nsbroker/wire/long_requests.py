"""Decodes long requests in steps, so that the broker can serve others in between. Only the broker uses it.

The result is that of `decode_request`, and so are the errors. But if a packet has several faults, another one may be
named. Each step takes a short time, whatever the packet has: values are decoded one by one, and a long value in parts.
A value that has the wrong form is not encoded again.
"""

from __future__ import annotations

from msgpack import OutOfData, Packer, Unpacker, unpackb

from .bounds import MAX_LIST_ITEMS, MAX_PACKET_BYTES, MAX_REQUEST_ID, MAX_SOCKETS
from .codec import decode_group_in_steps, decode_known, decode_spec, is_group
from .messages import ProtocolError, Request, SocketSpec
from .packet import Value, expect_int, pack_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from .codec import Decoded

LONG_BYTES = 2048
"""A longer packet is worth the steps, and a longer value the parts."""

LONG_GROUP_BYTES = 256
"""The same for a packet with groups, whose sockets have three bytes each."""

_PART_BYTES = 1024

_SPECS_AT_ONCE = 32
_SPECS_AT_ONCE_BYTES = 512
"""One by one, usual sockets would take twice the time."""

_SCALAR_BYTES = 32

_KEYS = frozenset({"v", "id", "op", "sockets", "wait", "ns", "socket", "connect", "engines", "stock"})

_STRINGS = frozenset({*range(0xA0, 0xC0), 0xD9, 0xDA, 0xDB})
_LISTS = frozenset({*range(0x90, 0xA0), 0xDC, 0xDD})
"""The first bytes of strings and of lists. Source: the specification of msgpack."""


def is_long(packet: bytes) -> bool:
    """Return whether a packet takes so long that it is worth the steps."""
    size = len(packet)
    return size > LONG_BYTES or (size > LONG_GROUP_BYTES and b"each" in packet)


def decode_in_steps(packet: bytes) -> Generator[None, None, Request]:
    """Read a request. Yield after each step.

    Raises:
        ProtocolError: as `decode_request`.
    """
    try:
        return (yield from _decode(_Reader(packet)))
    except ProtocolError:
        raise
    except Exception as error:
        # msgpack raises a dozen types, and each means the same here: not a msgpack value.
        raise ProtocolError(f"the packet is not a msgpack value: {str(error)[:80]}") from error


def _decode(reader: _Reader) -> Generator[None, None, Request]:
    message: dict[str, Value] = {}
    specs: list[Decoded | _Wrong] = []
    encoded: dict[str, bytes] = {}
    for _ in range(reader.read_map()):
        key = reader.read_key()
        if key in message:
            raise _not_canonical()
        message[key] = None
        if key not in _KEYS:
            reader.skip()
        elif key == "sockets" and reader.is_at(_LISTS):
            specs = yield from _decode_specs(reader)
        else:
            message[key] = yield from reader.read_value()
            encoded[key] = reader.last
            if len(reader.last) <= _SCALAR_BYTES:
                reader.check(message[key])
        yield
    reader.end()
    request_id = expect_int(message.get("id"), 0, MAX_REQUEST_ID, "id")
    try:
        request = decode_known({**message, "sockets": specs} if specs else message, request_id, _take_spec)  # type: ignore[arg-type,dict-item]  # specs, decoded already
    except ProtocolError as error:
        error.request_id = request_id
        raise
    if any(pack_value(message[key]) != piece for key, piece in encoded.items()):
        raise _not_canonical()
    return request


def _decode_specs(reader: _Reader) -> Generator[None, None, list[Decoded | _Wrong]]:
    """Decode the sockets up to the first that is wrong or too much, and skip the others."""
    specs: list[Decoded | _Wrong] = []
    is_wrong = False
    sockets = 0
    count = reader.read_list()
    read = 0
    while read < count:
        if is_wrong or sockets >= MAX_SOCKETS or read >= MAX_SOCKETS:
            reader.skip()
            read += 1
            if not read % _SPECS_AT_ONCE:
                yield
            continue
        values = yield from reader.read_values(min(_SPECS_AT_ONCE, count - read, MAX_SOCKETS - read))
        read += len(values)
        try:
            for value in values:  # the sockets before a wrong one count
                if sockets >= MAX_SOCKETS:
                    break
                if is_group(value):
                    group: list[SocketSpec] = []
                    yield from decode_group_in_steps(value, group)
                    specs.append(group)
                    sockets += len(group)
                    yield
                else:
                    specs.append(decode_spec(value))
                    sockets += 1
        except ProtocolError as error:
            specs.append(_Wrong(str(error), error.code))
            is_wrong = True
        else:
            reader.check_values(values)
        yield
    return specs + specs[:1] * (count - len(specs))


class _Wrong:
    """A socket that is refused, until its turn comes.

    The error itself would refer to itself by its traceback, so the whole request would stay in memory until the next
    garbage collection.
    """

    def __init__(self, message: str, code: str) -> None:
        self.message = message
        self.code = code


def _take_spec(decoded: Decoded | _Wrong) -> Decoded:
    if isinstance(decoded, _Wrong):
        raise ProtocolError(decoded.message, code=decoded.code)
    return decoded


class _Reader:
    """Reads the values of a packet. `last` has the bytes of the value that was read last."""

    def __init__(self, packet: bytes) -> None:
        if len(packet) > MAX_PACKET_BYTES:
            raise ProtocolError(f"the packet has more than {MAX_PACKET_BYTES} bytes")
        self._packet = packet
        self._unpacker = Unpacker(max_buffer_size=MAX_PACKET_BYTES, max_array_len=MAX_LIST_ITEMS)
        self._unpacker.feed(packet)
        self._packer = Packer()
        self.last = b""

    def is_at(self, first_bytes: frozenset[int]) -> bool:
        """Return whether the next value begins with one of these bytes."""
        at = self._unpacker.tell()
        return at < len(self._packet) and self._packet[at] in first_bytes

    def read_map(self) -> int:
        """Read the head of a map, and return the number of its keys."""
        count: int = self._unpacker.read_map_header()
        if not self._packet.startswith(self._packer.pack_map_header(count)):
            raise _not_canonical()
        return count

    def read_list(self) -> int:
        """Read the head of a list, and return the number of its items."""
        start = self._unpacker.tell()
        count: int = self._unpacker.read_array_header()
        if self._packet[start : self._unpacker.tell()] != self._packer.pack_array_header(count):
            raise _not_canonical()
        return count

    def read_key(self) -> str:
        """Read a key of a map."""
        if not self.is_at(_STRINGS):
            raise ProtocolError("a key of the packet is no string")
        self.skip()
        key: str = unpackb(self.last)
        self.check(key)
        return key

    def skip(self) -> None:
        """Skip a value."""
        start = self._unpacker.tell()
        self._unpacker.skip()
        self.last = self._packet[start : self._unpacker.tell()]

    def read_value(self) -> Generator[None, None, Value]:
        """Read a value, in parts if it is long."""
        self.skip()
        if len(self.last) <= LONG_BYTES:
            short: Value = unpackb(self.last, max_array_len=MAX_LIST_ITEMS)
            return short
        (value,) = yield from self._read_in_parts(1)
        return value

    def read_values(self, most: int) -> Generator[None, None, list[Value]]:
        """Read some of the values of a list, at least one. `last` has the bytes of all of them."""
        skip, tell = self._unpacker.skip, self._unpacker.tell
        at = start = tell()
        count = 0
        while count < most and at - start < _SPECS_AT_ONCE_BYTES:
            skip()
            at = tell()
            count += 1
        self.last = self._packet[start:at]
        if len(self.last) <= LONG_BYTES:
            short: list[Value] = unpackb(
                self._packer.pack_array_header(count) + self.last, max_array_len=MAX_LIST_ITEMS
            )
            return short
        return (yield from self._read_in_parts(count))

    def _read_in_parts(self, count: int) -> Generator[None, None, list[Value]]:
        unpacker = Unpacker(max_buffer_size=MAX_PACKET_BYTES, max_array_len=MAX_LIST_ITEMS)
        values: list[Value] = []
        for start in range(0, len(self.last), _PART_BYTES):
            unpacker.feed(self.last[start : start + _PART_BYTES])
            try:
                while len(values) < count:
                    values.append(unpacker.unpack())
            except OutOfData:
                yield
            else:
                return values
        raise ProtocolError("a value ends too early")

    def check(self, value: Value) -> None:
        """Check that a value that was just read is equal to its own encoding."""
        if pack_value(value) != self.last:
            raise _not_canonical()

    def check_values(self, values: list[Value]) -> None:
        """Check the same for the values that were just read together."""
        if pack_value(values) != self._packer.pack_array_header(len(values)) + self.last:
            raise _not_canonical()

    def end(self) -> None:
        """Check that nothing is left."""
        if self._unpacker.tell() != len(self._packet):
            raise ProtocolError("the packet has bytes behind its value")


def _not_canonical() -> ProtocolError:
    return ProtocolError("the packet has duplicate keys, or not the shortest encoding")
