"""A seal in the test's own process, without a broker: quick, also under emulation."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from nsbrokerd.namespaces.netns import namespace_cookie
from nsbrokerd.policy import AddressRule, Grant, Limit, NamespaceRule, Policy
from nsbrokerd.seal import Seal, install
from support.inside import enter, path_of, socket_cookie


class Walls:
    """A seal in this process, and sockets of its grant "limited" in a namespace."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.directory = Path(f"/sys/fs/bpf/nsbroker-test-{os.getpid()}")
        self.seal: Seal = install(self.directory)

    def limit(
        self, *kinds: str, connect: list[str] | None = None, bind: list[str] | None = None, name: str = "limited"
    ) -> None:
        """Put a policy in force that has only this grant."""
        self.use(grant(name, *kinds, limit=Limit(rules(connect), rules(bind))))

    def use(self, *grants: Grant) -> None:
        self.seal.load_limits(Policy(grants))

    def make(self, *kind: int) -> socket.socket:
        """A sealed socket of the grant."""

        def make() -> socket.socket:
            # The thread makes all its sockets there, which one test needs.
            enter(path_of(self.name))
            return socket.socket(*kind)

        sock = self.seal.call(lambda _gate: make())
        self.seal.put_on([(sock, "limited", namespace_cookie(sock), socket_cookie(sock))], os.getuid())
        sock.settimeout(30)
        return sock

    @property
    def both(self) -> bool:
        """Whether both walls hold. The kernel decides that, and the test says what follows."""
        return self.seal.why_alone is None

    def close(self) -> None:
        self.seal.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def rules(texts: list[str] | None) -> tuple[AddressRule, ...] | None:
    return None if texts is None else tuple(map(AddressRule.parse, texts))


def grant(name: str, *kinds: str, limit: Limit | None) -> Grant:
    return Grant(name, None, frozenset(), NamespaceRule.parse(["*"]), frozenset(kinds), limit=limit)
