"""The exceptions that the users of an HTTP client expect."""

from __future__ import annotations

from typing import NamedTuple

Error = type[BaseException]


class WebErrors(NamedTuple):
    """The exceptions for: unknown name, closed port, wrong certificate, timeout, no answer, no grant."""

    name: Error
    refused: Error
    certificate: Error
    connect_timeout: Error
    read_timeout: Error
    dropped: Error
    denied: Error
