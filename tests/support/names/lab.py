"""A namespace in which programs look names up in every way, and compare the results."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from support import namespaces
from support.brokers.process import EVERYTHING, BrokerProcess
from support.names.asking import Asker
from support.names.dnsmasq import Dnsmasq
from support.names.etc_netns import make_files, remove_files
from support.names.odd_server import OddServer
from support.names.scenes import HOSTS, NSSWITCH, RECORDS, RESOLV_CONF, Scene, scene
from support.namespaces import ip

WAYS = ("glibc", "library", "patch", "run")


class Lab:
    """A namespace, a second one with its name server, and the programs that look names up.

    The server is a dnsmasq, or one with odd answers.
    """

    def __init__(self, name: str, other: str, *, odd: bool = False) -> None:
        namespaces.make(name)
        namespaces.make(other)
        ip("link", "add", "va", "netns", name, "type", "veth", "peer", "name", "vb", "netns", other)
        ip("-n", other, "link", "set", "vb", "up")
        ip("-n", other, "address", "add", "10.73.0.2/24", "dev", "vb")
        ip("-n", name, "link", "set", "va", "up")
        ip("-n", name, "address", "add", "10.73.0.1/24", "dev", "va")
        ip("-n", name, "route", "add", "default", "via", "10.73.0.2")
        self.names = [name, other]
        self.directory = make_files(name)
        self.elsewhere = Path(tempfile.mkdtemp(prefix="nsbroker-test-"))
        self.elsewhere.chmod(0o755)
        self.prepare(scene([]))
        self._broker = BrokerProcess(EVERYTHING)
        self._broker.start()
        self._server = OddServer(other) if odd else Dnsmasq(other, RECORDS, ("10.73.0.2",))
        self.askers = {way: Asker(way, name, str(self._broker.socket_path)) for way in WAYS}

    def prepare(self, scene: Scene) -> None:
        """Write the files. All of them exist from the start, because `ip netns exec` mounts only those."""
        usual = {name: Path("/etc", name).read_text() for name in ("services", "protocols")}
        usual |= {"hosts": HOSTS, "resolv.conf": RESOLV_CONF, "nsswitch.conf": NSSWITCH}
        usual |= {"host.conf": "multi on\n", "gai.conf": ""}
        for file, text in {**usual, **scene.files}.items():
            (self.directory / file if file in usual else self.elsewhere / file).write_text(text)
        inside = ("netns", "exec", self.names[0], "sh", "-c")
        ip(*inside, f"echo {int(scene.without_ipv6)} > /proc/sys/net/ipv6/conf/all/disable_ipv6")
        if not scene.without_ipv6:
            ip("-n", self.names[0], "address", "replace", "fd73::1/64", "dev", "va", "nodad")
            ip("-n", self.names[0], "-6", "route", "replace", "default", "via", "fd73::2")

    def ask(self, way: str, scene: Scene) -> list[Any]:
        variables = {name: text.format(directory=self.elsewhere) for name, text in scene.variables.items()}
        return self.askers[way].ask(scene.calls, variables)

    def tool(self, *arguments: str) -> str:
        """Return the output of nsbroker-get."""
        command = [sys.executable, "-m", "nsbroker.cli", self.names[0], *arguments]
        variables = {**os.environ, "NSBROKER_SOCKET": str(self._broker.socket_path)}
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout

    def close(self) -> None:
        for asker in self.askers.values():
            asker.close()
        self._server.stop()
        self._broker.close()
        remove_files(self.names[0])
        shutil.rmtree(self.elsewhere)
        for name in self.names:
            namespaces.delete(name)

    def expect_one_answer(self, scene: Scene) -> None:
        """Fail if a look-up has another result than that of glibc inside the namespace."""
        self.prepare(scene)
        expected, *others = [self.ask(way, scene) for way in WAYS]
        for way, found in zip(WAYS[1:], others, strict=True):
            for call, ours, theirs in zip(scene.calls, found, expected, strict=True):
                assert ours == theirs, (way, call)
