"""The protocol between client and broker: bytes to messages and back, without any I/O.

Written down for every language in client/PROTOCOL.md; tests/vectors holds packets to test against.
"""

from .limits import MAX_PACKET_BYTES, MAX_SENT_FDS, MAX_SOCKETS, MAX_WAIT_S, PROTOCOL_VERSION
from .messages import (
    BAD_REQUEST,
    CODES,
    DENIED,
    NO_SUCH_NAMESPACE,
    OS_ERROR,
    OVERLOADED,
    UNSUPPORTED_VERSION,
    Address,
    BlobReply,
    ErrorReply,
    GrantSummary,
    NamespaceList,
    NamespaceRef,
    NamespacesRequest,
    OpenedSocket,
    OpenReply,
    OpenRequest,
    Option,
    ProtocolError,
    Reply,
    Request,
    SocketSpec,
)
from .replies import decode_namespaces, decode_reply, encode_namespaces, encode_reply
from .requests import decode_request, encode_request, named_descriptors

__all__ = [
    "BAD_REQUEST",
    "CODES",
    "DENIED",
    "MAX_PACKET_BYTES",
    "MAX_SENT_FDS",
    "MAX_SOCKETS",
    "MAX_WAIT_S",
    "NO_SUCH_NAMESPACE",
    "OS_ERROR",
    "OVERLOADED",
    "PROTOCOL_VERSION",
    "UNSUPPORTED_VERSION",
    "Address",
    "BlobReply",
    "ErrorReply",
    "GrantSummary",
    "NamespaceList",
    "NamespaceRef",
    "NamespacesRequest",
    "OpenReply",
    "OpenRequest",
    "OpenedSocket",
    "Option",
    "ProtocolError",
    "Reply",
    "Request",
    "SocketSpec",
    "decode_namespaces",
    "decode_reply",
    "decode_request",
    "encode_namespaces",
    "encode_reply",
    "encode_request",
    "named_descriptors",
]
