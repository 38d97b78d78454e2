"""example.org: a namespace with its servers, another one joined to it for the clients, and the names of both.

The broker opens sockets in the clients' namespace. `run` runs a client outside of both.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trustme

from support import namespaces
from support.adapters.outside import ADDRESS as OUTSIDE_ADDRESS
from support.adapters.outside import LEAK_PORT, Outside, listen
from support.adapters.programs import Function, Program, find_program
from support.brokers.process import BrokerProcess
from support.names.etc_netns import make_files, remove_files
from support.namespaces import PREFIX, ip
from support.sockets_inside import open_inside
from support.users import USER, Child

CLIENT = "10.98.0.2"
"""Where the clients' requests come from."""
SERVER = "10.98.0.1"
NOBODY_ANSWERS = "10.98.0.9"
CLIENT_HOST = "client.example.org"
"""The name of CLIENT."""

HOST = "www.example.org"
"""The name in the certificates, beside the names of _SERVERS, such as mail.example.org."""
UNTRUSTED = "other.example.org"
"""The same server by a name that its certificate does not have."""
UNREACHABLE = "silent.example.org"
UNKNOWN = "nothing.example.org"
SHARP_S = "xn--b-qfa.example.org"
"""A name with a sharp s, by IDNA 2008."""
TWO_OF_THE_CLIENT = "two.example.org"
"""A name for two addresses of the clients' namespace."""
LONG_RECORD = "long.example.org"
"""Its TXT records do not fit into a datagram."""

MARK = 0x10
"""The mark that the clients may have on their sockets."""

CLOSED_PORT = 1
SILENT_PORT = 2
"""Here the connection is made, and never a byte comes back."""

_SERVERS = ("mail", "ftp", "redis", "log", "mqtt", "s3", "router")
_NAMES = dict.fromkeys((HOST, UNTRUSTED, *(f"{name}.example.org" for name in _SERVERS)), SERVER)


def why_not() -> str | None:
    """Return the reason why this machine can't have it, or None."""
    if reason := namespaces.why_not():
        return reason
    return None if find_program("dnsmasq") else "names in a namespace need the command dnsmasq (dnsmasq-base)"


class ExampleOrg:
    """All of it, from the constructor to `close`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.client, self.server = f"{PREFIX}client", f"{PREFIX}server"
        self._closers: list[Callable[[], object]] = []
        try:
            self._make_network()
            self._make_names()
            self._make_certificates()
            self._make_outside()
            self._silent = self._closing(open_inside(self.server, socket.SOCK_STREAM, SILENT_PORT), socket.socket.close)
            self.broker = self._closing(BrokerProcess(_POLICY), BrokerProcess.close)
            self.broker.start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove everything, also when a part of it fails."""
        errors = []
        while self._closers:
            try:
                self._closers.pop()()
            except Exception as error:
                errors.append(error)
        if errors:
            raise ExceptionGroup("example.org was not removed", errors)

    def run(self, function: Callable[..., Any], *args: Any, **environment: str) -> Any:
        """Call `function(namespace, ...)`, `namespace` being the clients', as a user without rights, from outside.

        Raises:
            LeakError: packets were sent outside.
        """
        return self.start(function, *args, **environment).result()

    def start(self, function: Callable[..., Any], *args: Any, **environment: str) -> Child:
        """Start what `run` runs, and do not wait for its end."""
        return self.outside.start({**self._environment(), **environment}, function, self.client, *args)

    def start_server(self, *command: str, ports: tuple[int, ...]) -> Program:
        """Start a program among the servers."""
        log = self.directory / f"{Path(command[0]).name}.log"
        return Program(self.server, command, log, ports)

    def _environment(self) -> dict[str, str]:
        proxies = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        return {
            "NSBROKER_SOCKET": str(self.broker.socket_path),
            "SSL_CERT_FILE": str(self.authority),
            "AWS_CA_BUNDLE": str(self.authority),
            "HOME": "/nonexistent",
            # A client that uses these proxies leaves the namespace, or gets no answer.
            **dict.fromkeys(proxies, f"http://{OUTSIDE_ADDRESS}:9"),
        }

    def _closing(self, thing: Any, close: Callable[[Any], object]) -> Any:
        self._closers.append(lambda: close(thing))
        return thing

    def _make_network(self) -> None:
        for name in (self.client, self.server):
            namespaces.make(name)
            self._closing(name, namespaces.delete)
        ip("-n", self.client, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", self.server)
        for name, address in ((self.client, CLIENT), (self.server, SERVER)):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
        ip("-n", self.client, "route", "add", "default", "via", SERVER)
        # An address of another machine: the other end receives the packets for it, and drops them.
        ip("-n", self.client, "neighbour", "add", NOBODY_ANSWERS, "lladdr", "02:00:00:00:00:09", "dev", "eth0")

    def _make_names(self) -> None:
        own = make_files(self.client)
        self._closing(self.client, remove_files)
        (own / "resolv.conf").write_text(f"nameserver {SERVER}\n")
        (own / "hosts").write_text("")
        records = [f"--host-record={name},{address}" for name, address in _NAMES.items()]
        records += [f"--host-record={SHARP_S},{SERVER}", f"--host-record={CLIENT_HOST},{CLIENT}"]
        records += [f"--host-record={TWO_OF_THE_CLIENT},{address}" for address in (CLIENT, "127.0.0.1")]
        records += [f"--host-record={UNREACHABLE},{NOBODY_ANSWERS}", "--mx-host=example.org,mail.example.org,10"]
        records += [f"--txt-record={LONG_RECORD},{letter * 250}" for letter in "abcdefgh"]
        services = (("_mqtt", 1883), ("_secure-mqtt", 8883))
        records += [f"--srv-host={name}._tcp.example.org,mqtt.example.org,{port}" for name, port in services]
        # "/#/" without an address: there are no other names.
        self._start_dnsmasq(self.server, SERVER, *records, "--address=/#/")

    def _make_outside(self) -> None:
        name = f"{PREFIX}outside"
        self._closing(name, lambda name: namespaces.exists(name) and namespaces.delete(name))
        self.outside = Outside(name, self.directory)
        self._start_dnsmasq(name, OUTSIDE_ADDRESS, f"--address=/#/{OUTSIDE_ADDRESS}")
        self._closing(Function(name, [LEAK_PORT], listen), Function.stop)

    def _start_dnsmasq(self, namespace: str, address: str, *options: str) -> None:
        command = (
            *(str(find_program("dnsmasq")), "--keep-in-foreground", "--conf-file=/dev/null", "--user=root"),
            *("--pid-file=", "--log-facility=-", "--log-queries", "--no-resolv", "--no-hosts", "--bind-interfaces"),
            *(f"--listen-address={address}", *options),
        )
        log = self.directory / f"dnsmasq-{namespace}.log"
        self._closing(Program(namespace, command, log, (53,)), Program.stop)

    def _make_certificates(self) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert(*(name for name in _NAMES if name != UNTRUSTED))
        self.authority = self.directory / "authority.pem"
        self.certificate = self.directory / "certificate.pem"
        authority.cert_pem.write_to_path(str(self.authority))
        certificate.private_key_and_cert_chain_pem.write_to_path(str(self.certificate))
        os.chmod(self.certificate, 0o644)


_POLICY = f"""
[[grant]]
name = "the clients' namespace"
users = [{USER}]
namespaces = ["{PREFIX}client", "{PREFIX}alpha", "{PREFIX}beta", "@host"]
sockets = ["tcp", "udp", "icmp", "packet", "raw:raw", "raw:icmp", "netlink:route", "netlink:sock_diag",
           "netlink:generic"]
bind = ["*:*"]
options = ["mark={MARK:#x}"]
"""
