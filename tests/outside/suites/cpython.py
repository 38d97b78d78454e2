"""CPython's own tests of the network modules and asyncio."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from outside.suite import Prepared, Suite, UnavailableError, Way

# Modules that a later Python lacks are left out.
NETWORK = (
    "test_socket", "test_ssl", "test_select", "test_selectors", "test_poll", "test_epoll", "test_timeout",
    "test_socketserver", "test_ftplib", "test_smtplib", "test_smtpd", "test_imaplib", "test_poplib", "test_nntplib",
    "test_telnetlib", "test_httplib", "test_httpservers", "test_wsgiref", "test_urllib", "test_urllib2",
    "test_urllib2_localnet", "test_urllib_response", "test_robotparser", "test_http_cookiejar", "test_xmlrpc",
    "test_docxmlrpc", "test_asyncore", "test_asynchat", "test_logging", "test_os", "test_support",
    *(
        f"test_multiprocessing_{method}{module}"
        for method in ("fork", "spawn", "forkserver")
        for module in ("", ".test_processes", ".test_threads", ".test_manager", ".test_misc")  # Since Python 3.12
    ),
)  # fmt: skip

ASYNCIO = tuple(
    f"test_asyncio.test_{name}"
    for name in (
        "base_events", "buffered_proto", "events", "runners", "selector_events", "sendfile", "server", "sock_lowlevel",
        "ssl", "sslproto", "streams", "subprocess", "tasks", "taskgroups", "threads", "timeouts", "unix_events",
        "waitfor",
    )
)  # fmt: skip


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(f"test.{name}") is not None
    except ModuleNotFoundError:  # the parent is no package, or is not there
        return False


def _there(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(filter(_is_there, names)) or names  # if there are no tests at all, `prepare` says so


def _prepare(_: Path) -> Prepared:
    if not _is_there("test_socket"):
        raise UnavailableError("this Python has no tests (Debian: libpython3.11-testsuite)")
    return Prepared()


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
