"""Refusals of the broker as exceptions: the tree that programs catch, and the kernel's own errnos."""

from __future__ import annotations

import errno

import pytest

import nsbroker.link.errors as errors
from nsbroker import wire


@pytest.mark.parametrize(
    ("code", "kind", "also", "number"),
    [
        ("denied", errors.AccessDeniedError, PermissionError, errno.EACCES),
        ("no-such-namespace", errors.NamespaceNotFoundError, FileNotFoundError, errno.ENOENT),
        ("overloaded", errors.BrokerUnavailableError, ConnectionError, errno.EAGAIN),
        ("bad-request", errors.BrokerProtocolError, OSError, errno.EPROTO),
        ("unsupported-version", errors.BrokerProtocolError, OSError, errno.EPROTO),
    ],
)
def test_each_code_has_its_exception(code: str, kind: type, also: type, number: int) -> None:
    """It is an nsbroker.Error, and the exception that programs catch already."""
    error = errors.refusal(code, "why", 3)
    assert type(error) is kind
    assert isinstance(error, errors.Error)
    assert isinstance(error, also)
    assert (error.errno, error.index) == (number, 3)
    assert "why" in str(error)


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.EADDRINUSE, OSError), (errno.EACCES, PermissionError), (errno.ECONNREFUSED, ConnectionRefusedError)],
)
def test_kernel_error_is_what_the_socket_module_raises(number: int, kind: type) -> None:
    """No wrapper: `except PermissionError` and errno work as for a socket made here."""
    error = errors.refusal("os-error", "why", 1, number)
    assert type(error) is kind
    assert (error.errno, error.index) == (number, 1)


def test_every_code_of_the_protocol_is_covered() -> None:
    for code in wire.CODES:
        number = errno.EADDRINUSE if code == wire.OS_ERROR else None
        assert isinstance(errors.refusal(code, "why", None, number), OSError)
