"""What the users of an HTTP client expect to be raised."""

from __future__ import annotations

from typing import NamedTuple

Error = type[BaseException]


class WebErrors(NamedTuple):
    """The exceptions for: no such name, nobody listens, the wrong certificate, time is up, no answer, no grant."""

    name: Error
    refused: Error
    certificate: Error
    connect_timeout: Error
    read_timeout: Error
    dropped: Error
    denied: Error
