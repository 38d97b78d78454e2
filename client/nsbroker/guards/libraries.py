"""The one table of libraries that leave a namespace by themselves, and the way into a namespace that each one has."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from types import FrameType

CONNECT_IN_C = {
    "MySQLdb": "libmysqlclient",
    "_mysql_connector": "libmysqlclient",
    "awscrt": "the AWS CRT",
    "confluent_kafka": "librdkafka",
    "curl_cffi": "libcurl",
    "gevent": "its own event loop",
    "granian": "Rust",
    "grpc": "gRPC's core",
    "psycopg2": "libpq",
    "psycopg_binary": "libpq",
    "psycopg_c": "libpq",
    "psycopg.pq.pq_ctypes": "libpq",
    "pycares": "c-ares",
    "pycurl": "libcurl",
    "pymssql": "FreeTDS",
    "pynng": "nng",
    "pyodbc": "an ODBC driver",
    "uvloop": "libuv",
    "zmq": "libzmq",
}
"""Packages and modules that connect or look up names without the socket module, and the library by which they do so."""

HARMLESS = frozenset({"cryptography"})
"""Packages that contain such functions but make no connection. cryptography contains OpenSSL, and uses its ciphers."""

THIS_PROGRAM = "this program"
"""Stands for the library if no frame of Python names one: C code, at the start of a thread."""

RUN = "`nsbroker-get NS run`"
_WAYS = {
    "aiohttp": "nsbroker.adapters.aiohttp",
    "aiomqtt": "nsbroker.adapters.aiomqtt",
    "aiosmtplib": "its argument sock=",
    "anyio": "nsbroker.adapters.anyio",
    "boto3": "nsbroker.adapters.boto3",
    "botocore": "nsbroker.adapters.botocore",
    "dns": "nsbroker.adapters.dnspython",
    "ftplib": "nsbroker.adapters.ftplib",
    "grpc": f"an HTTP CONNECT proxy of the namespace or {RUN}",
    "http": "nsbroker.adapters.http_client",
    "httpcore": "nsbroker.adapters.httpcore",
    "httpx": "nsbroker.adapters.httpx",
    "hypercorn": f'a listener of the namespace, by its bind "fd://", or {RUN}',
    "imaplib": "nsbroker.adapters.imaplib",
    "logging": "nsbroker.adapters.logging",
    "paho": "nsbroker.adapters.paho",
    "puresnmp": f"a numeric address, or {RUN}",
    "pycares": f"the event loop's own look-ups (uninstall aiodns) or {RUN}",
    "pymongo": f"nsbroker.patch or {RUN}",
    "pyroute2": "nsbroker.adapters.pyroute2",
    "redis": "nsbroker.adapters.redis",
    "requests": "nsbroker.adapters.requests",
    "scapy": "nsbroker.adapters.scapy",
    "smtplib": "nsbroker.adapters.smtplib",
    "trio": "nsbroker.adapters.trio",
    "twisted": "nsbroker.adapters.twisted",
    "urllib": "nsbroker.adapters.urllib_request",
    "urllib3": "nsbroker.adapters.urllib3",
    "uvloop": "nsbroker.adapters.asyncio.loop_factory",
    "xmlrpc": "nsbroker.adapters.xmlrpc_client",
}
"""The way into a namespace of each library that has a better one than `run`."""

PASS_OWN_SOCKETS = frozenset({"hypercorn", "pyroute2"})
"""Libraries that pass sockets to an event loop as `sock=` which they, and not their user, have made."""

_BETWEEN = frozenset({
    "asyncio", "concurrent", "contextlib", "ctypes", "functools", "importlib", "io", "nsbroker", "pathlib", "runpy",
    "selectors", "socket", "ssl", "threading", "uvloop",
})  # fmt: skip
"""Packages between a library and the call that a guard sees."""


class BypassError(ImportError):
    """A library that would leave the namespace is loaded, or a program tries to load it. The message names it.

    Example:
        >>> import asyncio
        >>> import nsbroker
        >>> from nsbroker.adapters.asyncio import loop_factory
        >>> with asyncio.Runner(loop_factory=loop_factory("blue")) as runner:
        ...     loop = runner.get_loop()
        ...     try:
        ...         import pycurl
        ...     except nsbroker.BypassError as error:
        ...         refused = error.name
        >>> refused
        'pycurl'
    """


def package_of(module: str) -> str:
    """Return the name of a module's package of the highest level."""
    return module.partition(".")[0]


def way_of(library: str) -> str:
    """Return the text that names a library's way into a namespace."""
    return f"use {_WAYS.get(library, RUN)}"


def calling_library() -> str:
    """Return the name of the library that calls: the innermost known one, or the known one that uses it, and so on.

    If no library is known, this is the innermost package.
    """
    packages = [package for package in _calling_packages() if package not in _BETWEEN]
    known = [package in _WAYS or package in CONNECT_IN_C for package in packages]
    if True not in known:
        return packages[0] if packages else THIS_PROGRAM
    first = known.index(True)
    end = known.index(False, first) if False in known[first:] else len(known)
    return packages[end - 1]


def calls_for(packages: Container[str]) -> bool:
    """Return whether code of one of these packages is among the callers."""
    return any(package in packages for package in _calling_packages())


def calls_itself(frames: int) -> bool:
    """Return whether the code this many frames up the stack is this package's. Frames of ctypes are skipped."""
    frame: FrameType | None = sys._getframe(1 + frames)
    while frame is not None and package_of(frame.f_globals.get("__name__") or "") == "ctypes":
        frame = frame.f_back
    return frame is not None and package_of(frame.f_globals.get("__name__") or "") == "nsbroker"


def _calling_packages() -> Iterator[str]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield package_of(frame.f_globals.get("__name__") or "")
        frame = frame.f_back
