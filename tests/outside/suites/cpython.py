"""CPython's own tests of the network modules and asyncio."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from outside.suite import Prepared, Suite, UnavailableError, Way

# Modules that a later Python lacks are left out.
NETWORK = (
    "test_socket", "test_ssl", "test_select", "test_selectors", "test_poll", "test_epoll", "test_socketserver",
    "test_ftplib", "test_smtplib", "test_imaplib", "test_poplib", "test_nntplib", "test_telnetlib",
    "test_httplib", "test_httpservers", "test_http_cookiejar", "test_wsgiref", "test_robotparser",
    "test_urllib", "test_urllib2", "test_urllib2_localnet", "test_urllib2net", "test_urllib_response",
    "test_urllibnet", "test_urlparse", "test_xmlrpc", "test_docxmlrpc", "test_asyncore", "test_asynchat", "test_smtpd",
    "test_smtpnet", "test_timeout", "test_logging", "test_uuid", "test_ipaddress", "test_largefile", "test_support",
    "test_multiprocessing_fork", "test_multiprocessing_spawn", "test_multiprocessing_forkserver",
)  # fmt: skip

ASYNCIO = tuple(
    f"test_asyncio.test_{name}"
    for name in (
        "base_events", "buffered_proto", "events", "runners", "selector_events", "sendfile", "server", "sock_lowlevel",
        "ssl", "sslproto", "streams", "subprocess", "tasks", "taskgroups", "threads", "timeouts", "unix_events",
        "waitfor",
    )
)  # fmt: skip


def _there(names: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(name for name in names if importlib.util.find_spec(f"test.{name}") is not None)
    except ModuleNotFoundError:
        return names  # `prepare` says so


def _prepare(directory: Path) -> Prepared:
    if importlib.util.find_spec("test.test_socket") is None:
        raise UnavailableError("this Python has no tests (Debian: libpython3.11-testsuite)")
    return Prepared(directory)


SUITE = Suite(
    name="cpython",
    ways={
        "patch": Way(_there(NETWORK), prelude="patch"),
        "run": Way((*_there(NETWORK), *_there(ASYNCIO)), command=("nsbroker-get", "{namespace}", "run", "--")),
        "loop_factory": Way(_there(ASYNCIO), prelude="loop_factory"),
    },
    runner="run_unittest",
    prepare=_prepare,
)
