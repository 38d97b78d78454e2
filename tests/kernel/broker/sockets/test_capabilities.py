"""A broker that you start by hand gives up all capabilities but those that it needs."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

import nsbroker
from nsbroker import SocketSpec
from nsbrokerd.seal import is_writable_by_owner
from nsbrokerd.sockets.capabilities import DAC_OVERRIDE, KEPT
from support.brokers.process import BrokerProcess
from support.namespaces import PREFIX, why_not
from support.users import as_unprivileged

# In the root of the control groups, which a container or a machine without systemd is in, one more is needed.
ALSO = () if is_writable_by_owner() else (DAC_OVERRIDE,)
KEPT_MASK = sum(1 << number for number in (*KEPT.values(), *ALSO))

GRANTS = f"""
[[grant]]
name = "everything"
users = ["*"]
namespaces = ["{PREFIX}*", "@host"]
sockets = ["tcp", "raw:icmp"]
bind = ["*:80"]
"""


class LesserBroker(BrokerProcess):
    """A broker whose starter lacks one of the capabilities."""

    def __init__(self, missing: str) -> None:
        super().__init__(GRANTS)
        self._missing = missing.removeprefix("CAP_").lower()

    def command(self) -> list[str]:
        setpriv = shutil.which("setpriv")
        assert setpriv is not None
        return [setpriv, f"--inh-caps=-{self._missing}", f"--bounding-set=-{self._missing}", *super().command()]


def status(pid: int, thread: str) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/task/{thread}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def test_broker_keeps_what_it_needs_alone(start_broker: Callable[..., BrokerProcess]) -> None:
    """Root started it by hand. The usable and the gainable capabilities of all threads are the kept ones."""
    pid = start_broker().pid
    for thread in os.listdir(f"/proc/{pid}/task"):
        found = status(pid, thread)
        assert int(found["CapEff"], 16) == int(found["CapPrm"], 16) == int(found["CapBnd"], 16) == KEPT_MASK
        assert int(found["CapInh"], 16) == int(found["CapAmb"], 16) == 0
        assert found["NoNewPrivs"] == "1"


def ask(path: str, spec: SocketSpec) -> None:
    with nsbroker.Client(path) as client:
        client.open([spec])[0].close()


TCP, RAW = socket.SOCK_STREAM, socket.SOCK_RAW
HELPED_BY = [
    # Without these, the broker ends at once: it can't be its client, or can't be sure to come back.
    ("CAP_SETUID", SocketSpec("@host", socket.AF_INET, TCP), nsbroker.BrokerUnavailableError),
    ("CAP_SETGID", SocketSpec("@host", socket.AF_INET, TCP), nsbroker.BrokerUnavailableError),
    ("CAP_SYS_ADMIN", SocketSpec(f"{PREFIX}there", socket.AF_INET, TCP), nsbroker.BrokerUnavailableError),
    ("CAP_NET_RAW", SocketSpec(f"{PREFIX}there", socket.AF_INET, RAW, socket.IPPROTO_ICMP), PermissionError),
    ("CAP_NET_BIND_SERVICE", SocketSpec(f"{PREFIX}there", socket.AF_INET, TCP, 0, ("0.0.0.0", 80)), PermissionError),
]


@pytest.mark.parametrize(("capability", "spec", "error"), HELPED_BY, ids=lambda value: str(value)[:24])
def test_broker_needs_what_it_keeps(
    capability: str, spec: SocketSpec, error: type[OSError], make_namespace: Callable[..., str]
) -> None:
    """Without one of its capabilities, a request is refused, and no other capability replaces it.

    CAP_NET_ADMIN is not here: newer kernels let CAP_NET_RAW set SO_MARK.
    """
    if why_not() or shutil.which("setpriv") is None:
        pytest.skip("this needs root, and the command setpriv (util-linux)")
    make_namespace("there")
    broker = LesserBroker(capability)
    try:
        broker.start()
        with pytest.raises(error):
            as_unprivileged(ask, str(broker.socket_path), spec)
    finally:
        broker.kill()
        shutil.rmtree(broker.directory)
