"""The messages of the protocol, as values. client/docs/protocol.md describes each field on the wire."""

from __future__ import annotations

from .record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

NamespaceRef = str | int
"""A namespace: its name, "@host", or (an int) the index of a descriptor that the client sends with the request."""

Address = tuple[str, int] | tuple[str, int, int, int] | bytes
"""AF_INET: (host, port). AF_INET6: (host, port, flowinfo, scope id). AF_PACKET: (interface, protocol).
AF_UNIX: the abstract name without its leading NUL. Hosts are numeric."""

Option = tuple[int, int, int | bytes]
"""Level, name and value of setsockopt(2)."""


class SocketSpec(Record):
    """The description of one socket, for `Client.open`.

    Attributes:
        namespace: the name of a network namespace, such as "blue", "@host" for the broker's own namespace, or the name
            of a container, such as "podman:web". It can also be a path with a "/", such as "/proc/PID/ns/net", or a
            descriptor that stays open during the call.
        family: AF_INET, AF_INET6 or another family that your grants cover.
        type: SOCK_STREAM, SOCK_DGRAM or another type, optionally with SOCK_NONBLOCK.
        proto: the protocol as for socket(2).
        bind: the address to which the broker binds the socket. Ports below 1024 work. The library looks a host name
            up in the namespace, and the interface of "fe80::1%eth0". The broker takes numbers only.
        listen: the backlog (0..65535) with which the broker calls listen(2). `None` makes no listener.
        options: (level, name, value) for setsockopt(2). The broker sets them before it binds.
        also: additional addresses for a multi-homed SCTP socket, all on the port of `bind`.

    Example:
        >>> import socket
        >>> import nsbroker
        >>> spec = nsbroker.SocketSpec("blue", socket.AF_INET, socket.SOCK_STREAM, bind=("0.0.0.0", 8080), listen=128)
        >>> [server] = nsbroker.Client().open([spec])
        >>> server.getsockname()
        ('0.0.0.0', 8080)
        >>> server.close()
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
    """Asks for 1 to 253 sockets, all or none. Waits up to `wait_s` seconds for namespaces that do not exist yet.

    With `stock`, there is one spec, of an IP socket in a namespace with a name. `stock` is the number of sockets, and
    the client keeps some of them for a moment before a program uses them.

    If it `is_grouped`, sockets that differ in namespace and port alone are one spec on the wire. No socket has `also`.
    """

    request_id: int
    sockets: tuple[SocketSpec, ...]
    wait_s: float = 0
    stock: int = 0
    is_grouped: bool = False


class NamespacesRequest(Record):
    """Asks which namespaces this peer may use, and which sockets it may have there.

    With `engines`, the answer also has the faults of container engines.
    """

    request_id: int
    engines: bool = False


class ResolverRequest(Record):
    """Asks for the files by which host names are looked up in a namespace."""

    request_id: int
    namespace: NamespaceRef


class ExplainRequest(Record):
    """Asks whether the grants of this peer allow a socket, and a connection from it to `connect`."""

    request_id: int
    socket: SocketSpec
    connect: Address | None = None


class EnteredNamespace(Record):
    """A namespace that the broker entered: its SO_NETNS_COOKIE, and its device and inode as fstat(2) has them.

    The cookie is never used again. Device and inode are unique while the namespace exists.
    """

    cookie: int
    device: int
    inode: int


class OpenedSocket(Record):
    """One socket of a reply: its SO_COOKIE, its address if the broker bound it, and the index of its namespace."""

    cookie: int
    address: Address | None = None
    namespace: int = 0


class OpenReply(Record):
    """The sockets of an `OpenRequest`, and their namespaces. The descriptors come over the channel, in this order.

    `peer_group` comes only with `stock`: the peer group from which the broker's mount of /run/netns gets new mounts. 0
    means that it is private. If the request `is_grouped`, so is the reply, which then has no addresses.
    """

    request_id: int
    namespaces: tuple[EnteredNamespace, ...]
    sockets: tuple[OpenedSocket, ...]
    peer_group: int | None = None
    is_grouped: bool = False


class BlobReply(Record):
    """An answer of `size` bytes in one sealed memfd, which comes over the channel."""

    request_id: int
    size: int


class ErrorReply(Record):
    """A refusal. Only the code "os-error" has an `errno`. `spec_index` is the index of the socket spec at fault."""

    request_id: int | None
    code: str
    message: str
    errno: int | None = None
    spec_index: int | None = None


class LimitSummary(Record):
    """The addresses that a grant's sockets can connect and bind to after the hand-over.

    `None` allows every address, and () allows no address.
    """

    connect: tuple[str, ...] | None = None
    bind: tuple[str, ...] | None = None


class GrantSummary(Record):
    """The part of one grant of the policy that applies to this peer."""

    name: str
    sockets: tuple[str, ...]
    bind: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    limit: LimitSummary = LimitSummary()


class NamespaceList(Record):
    """The answer to `NamespacesRequest`: the grants, and each namespace as (name, indices into `grants`).

    `engines` has the reason for each container engine that did not answer, so that its containers are not listed.
    """

    grants: tuple[GrantSummary, ...]
    namespaces: tuple[tuple[str, tuple[int, ...]], ...]
    engines: Mapping[str, str] = {}


class Explanation(Record):
    """The answer to `ExplainRequest`: whether a socket is allowed, by which grant, and the rules that others lack.

    Attributes:
        reason: why the socket or the connection is denied. `None` means that all of it is allowed.
        by: the index of the grant by which the broker makes the socket. `None` means that it refuses the socket.
        binds_as_root: the broker binds the socket with its own rights, because the grant lists the address.
        exists: `False` if the namespace does not exist now. The broker says so only about a granted namespace.
        grants: those grants of this peer that cover the namespace.
        lacks: for each of the grants the missing rules, as (key of the grant, rule). A grant without any allows all.
    """

    reason: str | None
    by: int | None
    binds_as_root: bool
    exists: bool
    grants: tuple[GrantSummary, ...]
    lacks: tuple[tuple[tuple[str, str], ...], ...]


class ResolverFiles(Record):
    """The answer to `ResolverRequest`: the texts of both files, and the path of the resolv.conf.

    `files` has the texts of further files by name, for example of "gai.conf". A file that does not exist is left out.
    """

    resolv_conf: str
    hosts: str
    origin: str
    files: Mapping[str, str] = {}


Request = OpenRequest | NamespacesRequest | ResolverRequest | ExplainRequest
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
        code: the code for the answer: "bad-request" or "unsupported-version".
        request_id: the id of the packet, or `None` if it has no valid id. Then the connection can't be used any more.
        index: the index of the socket spec at fault, if there is one.
    """

    def __init__(
        self, message: str, *, code: str = BAD_REQUEST, request_id: int | None = None, index: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id
        self.index = index
