"""The examples in the adapters' docstrings, run as they stand there, but for the namespace's name."""

from __future__ import annotations

import ast
import asyncio
import importlib
import textwrap
from email.message import EmailMessage
from typing import Any

import pytest

from support.adapters import mail_servers
from support.adapters.example_org import ExampleOrg

NAMES = (
    "aiohttp", "dnspython", "ftplib", "http_client", "httpcore", "httpx", "imaplib", "logging", "redis",
    "redis_asyncio", "requests", "scapy", "smtplib", "twisted", "urllib3", "urllib_request", "xmlrpc_client",
)  # fmt: skip


def example_of(docstring: str) -> str:
    """The indented lines."""
    lines = [line for line in docstring.splitlines()[1:] if not line or line.startswith("    ")]
    return textwrap.dedent("\n".join(lines)).strip()


def run_example(namespace: str, name: str) -> None:
    module = importlib.import_module(f"nsbroker.adapters.{name}")
    source = example_of(module.__doc__ or "")
    assert '"blue"' in source
    code = compile(
        source.replace('"blue"', repr(namespace)), name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True
    )
    scope = {**vars(module), **what_a_reader_has(name)}
    running = eval(code, scope)
    if running is not None:
        asyncio.run(running)


def what_a_reader_has(name: str) -> dict[str, Any]:
    message = EmailMessage()
    message["From"] = message["To"] = "someone@example.org"
    names: dict[str, Any] = {"message": message, "user": mail_servers.USER, "password": mail_servers.PASSWORD}
    if name == "twisted":
        names |= {
            "reactor": importlib.import_module("twisted.internet.selectreactor").SelectReactor(),
            "Agent": importlib.import_module("twisted.web.client").Agent,
        }
    return names


@pytest.mark.usefixtures("web", "mail", "ftp", "redis_at_example_org")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_example_works(site: ExampleOrg, name: str) -> None:
    site.run(run_example, name)
