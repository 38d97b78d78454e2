"""Encodes replies as bytes, and decodes them."""

from __future__ import annotations

from .addresses import decode_address, encode_address
from .bounds import MAX_BLOB_BYTES, MAX_REQUEST_ID, MAX_SOCKETS
from .messages import (
    CODES,
    OS_ERROR,
    BlobReply,
    EnteredNamespace,
    ErrorReply,
    OpenedSocket,
    OpenReply,
    ProtocolError,
    Reply,
)
from .packet import (
    Value,
    expect_int,
    expect_list,
    expect_map,
    expect_str,
    pack,
    pack_value,
    refuse_unknown_keys,
    shorten,
    unpack,
)
from .record import make_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .packet import Packable

_OPEN_REPLY_KEYS = frozenset({"id", "namespaces", "sockets"})
_GROUPED_REPLY_KEYS = frozenset({"id", "namespaces", "cookies"})
_STOCK_REPLY_KEYS = _OPEN_REPLY_KEYS | {"peer_group"}
_BLOB_REPLY_KEYS = frozenset({"id", "blob"})
_ERROR_REPLY_KEYS = frozenset({"id", "error"})
_SOCKET_KEYS = frozenset({"cookie", "ns", "address"})
_ERROR_KEYS = frozenset({"code", "errno", "message", "index"})
_DELIVERY_HEAD = b"\x81\xa2id"
_INT32 = 2**31
_UINT64_MAX = 2**64 - 1


def encode_reply(reply: Reply) -> bytes:
    """Encode a reply without the fields that have their default.

    Raises:
        ProtocolError: the reply does not fit a packet.
    """
    if isinstance(reply, OpenReply):
        return _encode_opened(reply)
    if isinstance(reply, BlobReply):
        return pack({"id": reply.request_id, "blob": reply.size})
    error: dict[str, Value] = {"code": reply.code, "message": reply.message}
    if reply.errno is not None:
        error["errno"] = reply.errno
    if reply.spec_index is not None:
        error["index"] = reply.spec_index
    return pack({"id": reply.request_id, "error": error})


def _encode_opened(reply: OpenReply) -> bytes:
    request_id, namespaces, sockets, peer_group, is_grouped = reply
    message: dict[str, Packable] = {"id": request_id, "namespaces": namespaces}
    if is_grouped:
        from .groups import encode_cookies

        message["cookies"] = encode_cookies(sockets)
    else:
        message["sockets"] = list(map(_encode_socket, sockets))
    if peer_group is not None:
        message["peer_group"] = peer_group
    return pack(message)


def _encode_socket(opened: OpenedSocket) -> Value:
    cookie, address, namespace = opened
    message: dict[str, Value] = {"cookie": cookie}
    if namespace:
        message["ns"] = namespace
    if address is not None:
        message["address"] = encode_address(address)
    return message


def encode_delivery(request_id: int) -> bytes:
    """Encode the packet of the channel that carries the descriptors of a reply: the map {"id": ...}."""
    packet: bytes = _DELIVERY_HEAD + pack_value(request_id)
    return packet


def announced_descriptors(reply: OpenReply | BlobReply) -> int:
    """Return how many descriptors come over the channel with a reply."""
    return len(reply.sockets) if isinstance(reply, OpenReply) else 1


def decode_reply(packet: bytes) -> Reply:
    """Read a reply.

    Raises:
        ProtocolError: the packet has a form that client/docs/protocol.md does not allow.
    """
    message = unpack(packet)
    if "error" in message:
        refuse_unknown_keys(message, _ERROR_REPLY_KEYS, "the reply")
        return _decode_error(message["error"], message.get("id", ""))
    request_id = expect_int(message.get("id"), 0, MAX_REQUEST_ID, "id")
    if "blob" in message:
        refuse_unknown_keys(message, _BLOB_REPLY_KEYS, "the reply")
        return BlobReply(request_id, expect_int(message["blob"], 0, MAX_BLOB_BYTES, "blob"))
    if "cookies" in message:
        from .groups import decode_cookies

        refuse_unknown_keys(message, _GROUPED_REPLY_KEYS, "the reply")
        return decode_cookies(message["cookies"], request_id, _decode_entered(message.get("namespaces")))
    peer_group = None
    if len(message) > len(_OPEN_REPLY_KEYS):  # otherwise a key is missing for each unknown one
        refuse_unknown_keys(message, _STOCK_REPLY_KEYS, "the reply")
        peer_group = expect_int(message.get("peer_group"), 0, _INT32 - 1, "peer_group")
    namespaces = _decode_entered(message.get("namespaces"))
    sockets = _decode_opened(message.get("sockets"), len(namespaces))
    return make_record(OpenReply, (request_id, namespaces, sockets, peer_group, False))


def _decode_entered(value: Value) -> tuple[EnteredNamespace, ...]:
    entered = []
    for entry in expect_list(value, "namespaces"):
        if type(entry) is not list or len(entry) != 3:
            raise ProtocolError(f"a namespace of a reply is [cookie, device, inode], got {shorten(entry)}")
        cookie, device, inode = entry
        # As `expect_int`, without its calls. No integer of msgpack has more than 64 bits.
        if type(cookie) is not int or type(device) is not int or type(inode) is not int:
            raise ProtocolError(f"cookie, device and inode must be integers, got {shorten(entry)}")
        if cookie < 1 or device < 0 or inode < 0:
            raise ProtocolError(f"cookie, device and inode must be of 64 bits, and the cookie not 0, got {entry}")
        entered.append(make_record(EnteredNamespace, entry))
    if not 1 <= len(entered) <= MAX_SOCKETS:
        raise ProtocolError(f"the reply has {len(entered)} namespaces, and it must have 1..{MAX_SOCKETS}")
    if len(entered) > 1 and len({one.cookie for one in entered}) < len(entered):
        raise ProtocolError("a namespace of the reply occurs twice")
    return tuple(entered)


def _decode_opened(value: Value, namespaces: int) -> tuple[OpenedSocket, ...]:
    opened = []
    for entry in expect_list(value, "sockets"):
        if type(entry) is not dict:
            raise ProtocolError(f"a socket of a reply must be a map, got {shorten(entry)}")
        if len(entry) > 1 and not entry.keys() <= _SOCKET_KEYS:
            refuse_unknown_keys(entry, _SOCKET_KEYS, "a socket of the reply")
        cookie, namespace = entry.get("cookie"), entry.get("ns", 0)
        # As `expect_int`, without its calls.
        if type(cookie) is not int or not 1 <= cookie <= _UINT64_MAX:
            raise ProtocolError(f"cookie must be an integer of 64 bits, got {shorten(entry)}")
        if type(namespace) is not int or not 0 <= namespace < namespaces:
            raise ProtocolError(f"ns must be an index of one of {namespaces} namespaces, got {shorten(entry)}")
        address = decode_address(entry["address"]) if "address" in entry else None
        opened.append(make_record(OpenedSocket, (cookie, address, namespace)))
    if not 1 <= len(opened) <= MAX_SOCKETS:
        raise ProtocolError(f"the reply has {len(opened)} sockets, and it must have 1..{MAX_SOCKETS}")
    return tuple(opened)


def _decode_error(value: Value, request_id: Value) -> ErrorReply:
    error = expect_map(value, _ERROR_KEYS, "the error")
    code = expect_str(error.get("code"), "code")
    if code not in CODES:
        raise ProtocolError(f"unknown error code {shorten(code)}")
    if (code == OS_ERROR) != ("errno" in error):
        raise ProtocolError("os-error needs an errno, and no other code has one")
    return ErrorReply(
        None if request_id is None else expect_int(request_id, 0, MAX_REQUEST_ID, "id"),
        code,
        expect_str(error.get("message"), "message"),
        expect_int(error["errno"], 1, 4095, "errno") if "errno" in error else None,
        expect_int(error["index"], 0, MAX_SOCKETS - 1, "index") if "index" in error else None,
    )
