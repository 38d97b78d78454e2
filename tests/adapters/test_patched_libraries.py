"""Libraries that look up names by themselves, under `nsbroker.patch`. Each program has a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.adapters.example_org import HOST, SERVER, ExampleOrg
from support.users import can_start_programs

PATCH = """
import sys
import nsbroker
nsbroker.patch(sys.argv[1])
host = sys.argv[2]
"""

DNSPYTHON = """
import dns.resolver
print(dns.resolver.Resolver().nameservers[0], dns.resolver.resolve(host)[0])
"""

DNSPYTHON_ASYNC = """
import asyncio, dns.asyncresolver
async def main():
    resolver = dns.asyncresolver.Resolver()
    print(resolver.nameservers[0], (await resolver.resolve(host))[0])
asyncio.run(main())
"""

TWISTED = """
from twisted.internet import reactor
from twisted.names import client
def answer(address):
    print(*dict.fromkeys(server for server, _ in client.getResolver().resolvers[-1].dynServers), address)
    reactor.stop()
client.getHostByName(host).addBoth(answer)
reactor.run(installSignalHandlers=False)
"""


def run_program(namespace: str, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", PATCH + code, namespace, HOST],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(autouse=True)
def _needs_programs() -> None:
    if not can_start_programs():
        pytest.skip("other users can't start this Python")


@pytest.mark.parametrize("program", [DNSPYTHON, DNSPYTHON_ASYNC, TWISTED], ids=["dns", "dns-async", "twisted"])
def test_library_that_reads_resolv_conf_asks_the_servers_of_the_namespace(site: ExampleOrg, program: str) -> None:
    assert site.run(run_program, program) == f"{SERVER} {SERVER}\n"


REFUSED = """
try:
    import NAME
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["pycares", "gevent"])
def test_library_that_reads_resolv_conf_in_c_is_refused(site: ExampleOrg, name: str) -> None:
    assert f"{name} connects by" in site.run(run_program, REFUSED.replace("NAME", name))
