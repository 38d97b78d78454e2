"""The protocol between client and broker: messages as values, and their bytes. No I/O, and no import of other rooms.

client/docs/protocol.md describes the protocol for every language. tests/vectors holds packets to test against.
"""

from .bounds import MAX_PACKET_BYTES, MAX_REQUEST_ID, MAX_SENT_FDS, MAX_SOCKETS, MAX_WAIT_S, PROTOCOL_VERSION
from .codec import decode_request, encode_request, named_descriptors
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
    EnteredNamespace,
    ErrorReply,
    ExplainRequest,
    Explanation,
    GrantSummary,
    LimitSummary,
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
    ResolverFiles,
    ResolverRequest,
    SocketSpec,
)
from .record import make_record
from .replies import announced_descriptors, decode_reply, encode_delivery, encode_reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .answers import (
        decode_explanation,
        decode_namespaces,
        decode_resolver_files,
        encode_explanation,
        encode_namespaces,
        encode_resolver_files,
    )
    from .peer_groups import read_groups, read_mount_id

__all__ = [
    "BAD_REQUEST", "CODES", "DENIED", "MAX_PACKET_BYTES", "MAX_REQUEST_ID", "MAX_SENT_FDS", "MAX_SOCKETS", "MAX_WAIT_S",
    "NO_SUCH_NAMESPACE", "OS_ERROR", "OVERLOADED", "PROTOCOL_VERSION", "UNSUPPORTED_VERSION", "Address", "BlobReply",
    "EnteredNamespace", "ErrorReply", "ExplainRequest", "Explanation", "GrantSummary", "LimitSummary", "NamespaceList",
    "NamespaceRef", "NamespacesRequest", "OpenReply", "OpenRequest", "OpenedSocket", "Option", "ProtocolError", "Reply",
    "Request", "ResolverFiles", "ResolverRequest", "SocketSpec", "announced_descriptors", "decode_explanation",
    "decode_namespaces", "decode_reply", "decode_request", "decode_resolver_files", "encode_delivery",
    "encode_explanation", "encode_namespaces", "encode_reply", "encode_request", "encode_resolver_files",
    "make_record", "named_descriptors", "read_groups", "read_mount_id",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """Load a name that a program for one socket does not need when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import answers, peer_groups

    value: object = getattr(answers if hasattr(answers, name) else peer_groups, name)
    globals()[name] = value
    return value
