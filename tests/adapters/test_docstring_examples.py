"""The examples in the adapters' docstrings, run as they stand there, but for the namespace's name and an address."""

from __future__ import annotations

import asyncio
import importlib
import os
import pkgutil
import subprocess
import sys
import warnings
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from typing import Any

import pytest
import trio

import nsbroker
import nsbroker.adapters
from support import docstring_examples
from support.adapters import mail_servers
from support.adapters.example_org import CLIENT, MARK, SERVER, ExampleOrg
from support.adapters.marks import sockets_of_the_broker
from support.docstring_examples import Case

PACKAGE = "nsbroker.adapters"
MODULES = [name for _, name, _ in pkgutil.iter_modules(nsbroker.adapters.__path__) if not name.startswith("_")]
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # What scapy's parts import is not ours.
    CASES = [case for name in MODULES for case in docstring_examples.examples(f"{PACKAGE}.{name}")]

RunAsync = Callable[[Callable[[], Awaitable[None]]], object]


def run_in_asyncio(function: Callable[[], Any]) -> None:
    asyncio.run(function())


def run_in_twisted(reactor: Any) -> RunAsync:
    defer = importlib.import_module("twisted.internet.defer")

    def run(function: Callable[[], Awaitable[None]]) -> None:
        done = defer.ensureDeferred(function())
        failures: list[Any] = []
        done.addErrback(failures.append)
        done.addBoth(lambda _: reactor.callWhenRunning(reactor.stop))
        reactor.run(installSignalHandlers=False)
        for failure in failures:
            failure.raiseException()

    return run


def what_a_reader_has(module: str) -> tuple[dict[str, Any], RunAsync]:
    """The names that an example has from elsewhere, and the loop that it runs in."""
    message = EmailMessage()
    message["From"] = message["To"] = "someone@example.org"
    scope: dict[str, Any] = {"message": message, "user": mail_servers.USER, "password": mail_servers.PASSWORD}
    if module == f"{PACKAGE}.trio":
        return scope, trio.run
    if module != f"{PACKAGE}.twisted":
        return scope, run_in_asyncio
    reactor = importlib.import_module("twisted.internet.selectreactor").SelectReactor()
    protocol = importlib.import_module("twisted.internet.protocol")
    agent = importlib.import_module("twisted.web.client").Agent
    twisted = {"reactor": reactor, "Agent": agent, "Protocol": protocol.Protocol, "Factory": protocol.Factory}
    return scope | twisted, run_in_twisted(reactor)


def run_case(namespace: str, case: Case, **more: object) -> None:
    scope, run_async = what_a_reader_has(case.module)
    replaced = {'"blue"': "marked" if more else repr(namespace), "10.0.0.1": SERVER, "10.0.0.2": CLIENT}
    docstring_examples.run(case, scope | more, replaced, run_async)


def run_marked(namespace: str, case: Case) -> set[int]:
    with sockets_of_the_broker() as made:
        run_case(namespace, case, marked=nsbroker.Namespace(namespace, mark=MARK))
    return {mark for _, mark in made}


@pytest.mark.usefixtures("web", "mail", "ftp", "redis_at_example_org", "mqtt", "s3")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_example_works(site: ExampleOrg, case: Case) -> None:
    site.run(run_case, case)


@pytest.mark.usefixtures("web", "mail", "ftp", "redis_at_example_org", "mqtt", "s3")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_socket_has_the_mark_of_its_namespace(site: ExampleOrg, case: Case) -> None:
    """From birth, whichever adapter it is for, and also the sockets that ask name servers."""
    assert site.run(run_marked, case) <= {MARK}


PATCHING = [
    case for name in ("patching", "patching.bypass") for case in docstring_examples.examples(f"nsbroker.{name}")
]
IN_A_NEW_PROGRAM = """
import http.client, sys, urllib.request
import nsbroker
from support import docstring_examples
[case] = [case for case in docstring_examples.examples(sys.argv[1]) if case.name == sys.argv[2]]
scope = {"http": http, "nsbroker": nsbroker, "urllib": urllib}
docstring_examples.run(case, scope, {'"blue"': repr(sys.argv[3])}, lambda function: None)
"""


def run_in_new_program(namespace: str, case: Case) -> str:
    # A patch would refuse this process, which has loaded every library.
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, "-P", "-c", IN_A_NEW_PROGRAM, case.module, case.name, namespace]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stderr


@pytest.mark.usefixtures("web")
@pytest.mark.parametrize("case", PATCHING, ids=str)
def test_example_of_patching_works(site: ExampleOrg, case: Case) -> None:
    assert site.run(run_in_new_program, case) == ""


@pytest.mark.parametrize("name", MODULES)
def test_everything_public_has_an_example(name: str) -> None:
    """Each class and function; a method may do without."""
    shown = {case.name for case in CASES if case.module == f"{PACKAGE}.{name}"}
    public = docstring_examples.public(importlib.import_module(f"{PACKAGE}.{name}"))
    assert {each for each in public if "." not in each} - shown == set()
