"""The messages of the protocol, as values. What each field means on the wire: client/docs/protocol.md."""

from __future__ import annotations

from .record import Record

NamespaceRef = str | int
"""A namespace: its name, "@host", or (an int) the index of a descriptor that is sent along with the request."""

Address = tuple[str, int] | tuple[str, int, int, int] | bytes
"""AF_INET (host, port); AF_INET6 (host, port, flowinfo, scope id); AF_PACKET (interface, protocol);
AF_UNIX the abstract name without its leading NUL. Hosts are numeric."""

Option = tuple[int, int, int | bytes]
"""Level, name and value of setsockopt(2)."""


class SocketSpec(Record):
    """What one socket shall be.

    `family`, `type` and `proto` are those of socket(2); of the type's flags only SOCK_NONBLOCK is known. With
    `bind` the broker binds the socket, with `listen` (a backlog) it makes it listen too; `options` are set before.
    `also` are further addresses of an SCTP socket, on the port of `bind`: it is multi-homed.
    """

    namespace: NamespaceRef
    family: int
    type: int
    proto: int = 0
    bind: Address | None = None
    listen: int | None = None
    options: tuple[Option, ...] = ()
    also: tuple[Address, ...] = ()


class OpenRequest(Record):
    """Asks for 1 to 253 sockets, all or none; waits up to `wait_s` seconds for namespaces that are not there yet."""

    request_id: int
    sockets: tuple[SocketSpec, ...]
    wait_s: float = 0


class NamespacesRequest(Record):
    """Asks which namespaces this peer may use, and what it may do there."""

    request_id: int


class ResolverRequest(Record):
    """Asks for the files by which names are looked up in a namespace."""

    request_id: int
    namespace: NamespaceRef


class OpenedSocket(Record):
    """One socket of a reply: SO_COOKIE, SO_NETNS_COOKIE, and where it is bound if the broker bound it."""

    cookie: int
    netns: int
    name: Address | None = None


class OpenReply(Record):
    """The sockets that were asked for; their descriptors come along in the same order."""

    request_id: int
    sockets: tuple[OpenedSocket, ...]


class BlobReply(Record):
    """An answer of `size` bytes, in one sealed memfd that comes along."""

    request_id: int
    size: int


class ErrorReply(Record):
    """A refusal. `errno` comes with the code os-error alone, `spec_index` names the socket spec that it is about."""

    request_id: int | None
    code: str
    message: str
    errno: int | None = None
    spec_index: int | None = None


class LimitSummary(Record):
    """Where the sockets of a grant can be connected and bound afterwards: None is anywhere, () is nowhere."""

    connect: tuple[str, ...] | None = None
    bind: tuple[str, ...] | None = None


class GrantSummary(Record):
    """What one grant of the policy allows, as far as this peer is concerned."""

    name: str
    sockets: tuple[str, ...]
    bind: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    limit: LimitSummary = LimitSummary()


class NamespaceList(Record):
    """The answer to `NamespacesRequest`: grants, and (namespace, indices into grants) by name."""

    grants: tuple[GrantSummary, ...]
    namespaces: tuple[tuple[str, tuple[int, ...]], ...]


class ResolverFiles(Record):
    """The answer to `ResolverRequest`: the files' texts, and the path of the first, which says whose they are."""

    resolv_conf: str
    hosts: str
    origin: str


Request = OpenRequest | NamespacesRequest | ResolverRequest
Reply = OpenReply | BlobReply | ErrorReply

BAD_REQUEST = "bad-request"
DENIED = "denied"
NO_SUCH_NAMESPACE = "no-such-namespace"
OS_ERROR = "os-error"
OVERLOADED = "overloaded"
UNSUPPORTED_VERSION = "unsupported-version"
CODES = frozenset({BAD_REQUEST, DENIED, NO_SUCH_NAMESPACE, OS_ERROR, OVERLOADED, UNSUPPORTED_VERSION})


class ProtocolError(ValueError):
    """A packet that does not follow the protocol.

    Attributes:
        code: what to answer: "bad-request" or "unsupported-version".
        request_id: the packet's own id where it could be read, else None: then the peer can't be followed further.
        index: the socket spec that it is about, if it is about one.
    """

    def __init__(
        self, message: str, *, code: str = BAD_REQUEST, request_id: int | None = None, index: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id
        self.index = index
