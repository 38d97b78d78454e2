"""A broker says at its start, in its status and in `check` what its container lacks."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from support import namespaces
from support.brokers.limited import grant
from support.brokers.process import EVERYTHING, START_S, BrokerProcess

HIDDEN = "namespaces that get a name later can't be seen here"
SHORT = "they end with this container"
NO_PINS = "umount --lazy /sys/fs/bpf 2>/dev/null; true"


class Isolated(BrokerProcess):
    """A broker in a mount namespace of its own."""

    propagation = "private"
    before = "true"

    def command(self) -> list[str]:
        unshare = ["unshare", "--mount", f"--propagation={self.propagation}", "--"]
        return [*unshare, "sh", "-c", f'{self.before}; exec "$@"', "sh", *super().command()]

    def check(self) -> subprocess.CompletedProcess[str]:
        line = [one if one != "serve" else "check" for one in self.command()]
        return subprocess.run(line, capture_output=True, text=True, timeout=START_S, check=False)


@pytest.fixture
def isolated() -> Iterator[Isolated]:
    if reason := namespaces.why_not():
        pytest.skip(reason)
    broker = Isolated(EVERYTHING)
    yield broker
    broker.close()


def test_broker_that_does_not_see_later_names_says_so(isolated: Isolated) -> None:
    isolated.start()
    assert f"the names of namespaces: {HIDDEN}" in isolated.status()
    assert "-v /run/netns:/run/netns:rslave" in isolated.log()
    done = isolated.check()
    assert (done.returncode, HIDDEN in done.stderr) == (1, True)


def test_broker_that_sees_later_names_has_no_fault(isolated: Isolated) -> None:
    isolated.propagation = "slave"
    isolated.start()
    assert ";" not in isolated.status()
    done = isolated.check()
    assert (done.returncode, done.stderr) == (0, "")


def test_broker_whose_limits_end_with_it_says_so(isolated: Isolated) -> None:
    isolated.propagation, isolated.before = "slave", NO_PINS
    isolated.configure(grant(connect=["127.0.0.0/8:5000"]))
    isolated.start()
    assert f"the limits: {SHORT}" in isolated.status()
    assert "-v /sys/fs/bpf:/sys/fs/bpf" in isolated.log()
    done = isolated.check()
    assert (done.returncode, f"broker.seal: limits: {SHORT}" in done.stderr) == (1, True)
