"""The values that the protocols and the server share: the target of a client, and the reasons to refuse it. Pure."""

from __future__ import annotations

from ..wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    class Handshake(Protocol):
        """One client's request for a connection, from its first byte to the answer.

        Attributes:
            target: the target, once the request is complete.
            first: bytes for the target that came with the request.
            body: the rest of a request that can't be passed on as it is (`None`: pass all bytes on).
        """

        target: Target | None
        first: bytes
        body: Body | None

        def receive(self, data: bytes) -> bytes:
            """Take bytes of the client, and return the bytes to answer at once.

            Raises:
                RefusedError: the client does not follow the protocol, or asks for something that the proxy can't do.
            """

        def take_first(self) -> bytes:
            """Return the bytes for the target that came with the request, and forget them."""

        def success(self, local: tuple[Any, ...]) -> bytes:
            """Return the answer to a client whose connection has this local address."""

        def refusal(self, failure: Failure) -> bytes:
            """Return the answer to a client whose connection could not be made."""

    class Body(Protocol):
        """The rest of a request. `is_complete` tells whether its end has come."""

        is_complete: bool

        def forward(self, data: bytes) -> bytes:
            """Take bytes of the client, and return the bytes for the target.

            Raises:
                ConnectionError: the client does not follow the protocol.
            """


MAX_HOST_BYTES = 255


class Target(Record):
    """A host, which is a name or an address, and a port."""

    host: str
    port: int


class Failure(Record):
    """A connection that could not be made.

    Attributes:
        socks: the reply code of RFC 1928, section 6.
        status: the status code of HTTP.
        text: one line.
    """

    socks: int
    status: int
    text: str


class RefusedError(Exception):
    """The client gets these bytes, and the log gets the message."""

    def __init__(self, answer: bytes, message: str) -> None:
        super().__init__(message)
        self.answer = answer


def checked_host(host: bytes) -> str:
    """Return the text of a host that a client sent.

    An empty one and "*" would mean the loopback address to a resolver, and others could control a terminal in the log.

    Raises:
        ValueError: it is empty, too long, or has characters that no host has.
    """
    text = host.decode()
    if not 1 <= len(host) <= MAX_HOST_BYTES:
        raise ValueError(f"a host has 1 to {MAX_HOST_BYTES} bytes, not {len(host)}")
    if not text.isprintable() or any(char.isspace() or char in "*/@[]" for char in text):
        raise ValueError(f"{text!r} is no host")
    return text
