"""The unit of deploy/services, started with the user, the groups, the rights and the places that systemd gives it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from support.adapters.programs import listens_on
from support.brokers.process import BrokerProcess
from support.checkout import DEPLOY
from support.documents import examples
from support.inside import call_inside
from support.namespaces import PREFIX
from support.users import GROUP, UIDS, can_start_programs
from support.waiting import wait_until

UNIT = (DEPLOY / "services" / "web@.service").read_text()
[GRANT] = [each.text for each in examples("toml") if 'groups     = ["web-sockets"]\nnamespaces = ["blue"]' in each.text]
PORT = 8080
DYNAMIC_USER, WEB = UIDS[2], UIDS[3]
"""A user and a group that nothing else has."""

# ProtectSystem=strict and PrivateNetwork=yes.
PLACES = ["unshare", "--mount", "--net", "sh", "-ec", 'mount -o remount,bind,ro / && exec "$@"', "sh"]
RIGHTS = ["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]


def command_of(namespace: str) -> list[str]:
    """The ExecStart= of the unit, with the nsbroker-get that is tested."""
    [line] = re.findall("^ExecStart=(.*)$", UNIT, re.MULTILINE)
    program, *words = shlex.split(line.replace("%i", namespace))
    assert program == "/opt/nsbroker/bin/nsbroker-get"
    return [sys.executable, "-P", "-m", "nsbroker.cli", *words]


@pytest.fixture
def brokers() -> list[BrokerProcess]:
    """The brokers of the services that were started."""
    return []


@pytest.fixture
def start(
    start_broker: Callable[[str], BrokerProcess], brokers: list[BrokerProcess]
) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Yield a function that starts the service of a namespace. The grant of the document names its group."""
    if not can_start_programs():
        pytest.skip("other users can't run this Python with this package")
    started = []

    def start_service(namespace: str) -> subprocess.Popen[str]:
        broker = start_broker(GRANT.replace('["web-sockets"]', f"[{WEB}]").replace('"blue"', f'"{namespace}"'))
        brokers.append(broker)
        user = [f"--reuid={DYNAMIC_USER}", f"--regid={DYNAMIC_USER}", f"--groups={GROUP},{WEB}"]
        environment = {"NSBROKER_SOCKET": str(broker.socket_path), "PATH": "/usr/bin:/bin"}
        service = subprocess.Popen(
            [*PLACES, "setpriv", *user, *RIGHTS, *command_of(namespace)],
            env=environment,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(service)
        return service

    yield start_service
    for service in started:
        if service.poll() is None:
            service.kill()
        service.wait()
        assert service.stderr is not None
        service.stderr.close()


def statuses() -> list[dict[str, str]]:
    """Of all processes of the service: the program, and its supervisor."""
    found = []
    for path in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            found.append(dict(re.findall(r"^(\w+):\s*(.*)$", path.read_text(), re.MULTILINE)))
    return [status for status in found if str(DYNAMIC_USER) in status["Uid"].split()]


def get() -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{PORT}/", timeout=20) as answer:
        return int(answer.status)


def wait_for_service(service: subprocess.Popen[str], namespace: str) -> None:
    def listens() -> bool:
        assert service.poll() is None, service.stderr and service.stderr.read()
        return bool(call_inside(namespace, listens_on, "/proc/thread-self", [PORT]))

    wait_until(listens)


def test_service_serves_the_namespace(
    start: Callable[[str], subprocess.Popen[str]], make_namespace: Callable[[], str]
) -> None:
    """Its processes are the user's, and have no capability."""
    namespace = make_namespace()
    service = start(namespace)
    wait_for_service(service, namespace)
    assert call_inside(namespace, get) == 200
    found = statuses()
    assert len(found) >= 2
    for status in found:
        assert status["Uid"].split() == [str(DYNAMIC_USER)] * 4, status
        assert (status["CapEff"], status["CapBnd"], status["NoNewPrivs"]) == ("0" * 16, "0" * 16, "1")
    # systemd sends this to all processes of the unit.
    for status in found:
        os.kill(int(status["Pid"]), signal.SIGTERM)
    wait_until(lambda: service.poll() is not None and not statuses())


def test_service_waits_for_its_namespace(
    start: Callable[[str], subprocess.Popen[str]], make_namespace: Callable[..., str], brokers: list[BrokerProcess]
) -> None:
    """It can start before the namespace exists, as after a boot."""
    namespace = f"{PREFIX}later"
    service = start(namespace)
    wait_until(lambda: brokers[0].has_a_waiting_request())
    make_namespace("later")
    wait_for_service(service, namespace)
    assert call_inside(namespace, get) == 200
