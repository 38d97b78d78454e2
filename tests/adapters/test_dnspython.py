"""dnspython in a namespace, asking a real dnsmasq."""

from __future__ import annotations

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.resolver
import pytest
import trio

from nsbroker.adapters.dnspython import Do53Nameserver, Resolver
from support.adapters.example_org import (
    CLOSED_PORT,
    HOST,
    LONG_RECORD,
    NOBODY_ANSWERS,
    SERVER,
    UNKNOWN,
    ExampleOrg,
)


def with_servers(namespace: str, *servers: str | dns.nameserver.Nameserver) -> Resolver:
    resolver = Resolver(namespace, configure=False)
    resolver.nameservers = servers
    return resolver


def ask(namespace: str, tcp: bool) -> str:
    return str(Resolver(namespace).resolve(HOST, "A", tcp=tcp)[0])


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_answer_is_the_namespaces(site: ExampleOrg, tcp: bool) -> None:
    """Outside, the same question has another answer."""
    assert site.run(ask, tcp) == SERVER


def ask_for_much(namespace: str) -> int:
    return len(Resolver(namespace).resolve(LONG_RECORD, "TXT"))


def test_truncated_answer_is_asked_for_again_over_tcp(site: ExampleOrg) -> None:
    assert site.run(ask_for_much) == 8


def ask_from(namespace: str) -> str:
    return str(Resolver(namespace).resolve(HOST, "A", source="10.98.0.2", source_port=5300)[0])


def test_source_address_is_used(site: ExampleOrg) -> None:
    assert site.run(ask_from) == SERVER


def assign_servers(namespace: str) -> None:
    resolver = Resolver(namespace, configure=False)
    resolver.port = CLOSED_PORT
    resolver.nameservers = [SERVER, Do53Nameserver(namespace, SERVER)]
    assert [str(server) for server in resolver.nameservers] == [f"Do53:{SERVER}@{CLOSED_PORT}", f"Do53:{SERVER}@53"]
    assert str(resolver.resolve(HOST, "A", tcp=True)[0]) == SERVER


def test_servers_can_be_assigned(site: ExampleOrg) -> None:
    """One that refuses is passed over."""
    site.run(assign_servers)


def fail(namespace: str) -> None:
    with pytest.raises(dns.resolver.NXDOMAIN):
        Resolver(namespace).resolve(UNKNOWN)
    for tcp in (False, True):
        with pytest.raises(dns.resolver.LifetimeTimeout):
            with_servers(namespace, NOBODY_ANSWERS).resolve(HOST, tcp=tcp, lifetime=0.2)
    refusing = with_servers(namespace, Do53Nameserver(namespace, SERVER, CLOSED_PORT))
    with pytest.raises((dns.resolver.NoNameservers, dns.resolver.LifetimeTimeout)):
        refusing.resolve(HOST, tcp=True, lifetime=0.5)


def test_errors_are_those_of_dnspython(site: ExampleOrg) -> None:
    """The errors are the usual ones for an unknown name, a silent server and a closed port."""
    site.run(fail)


@pytest.mark.parametrize("server", ["https://10.98.0.1/dns-query", dns.nameserver.Do53Nameserver(SERVER), HOST])
def test_server_that_would_be_asked_outside_is_refused(server: str | dns.nameserver.Nameserver) -> None:
    with pytest.raises(ValueError, match="a name server in a namespace needs an address"):
        with_servers("blue", server)


def test_what_would_ask_outside_is_refused() -> None:
    """Discovery of designated resolvers, and an asynchronous resolver that is given a server of ours."""
    with pytest.raises(NotImplementedError):
        with_servers("blue", SERVER).try_ddr()

    async def ask_asynchronously() -> None:
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers = [Do53Nameserver("blue", SERVER)]
        await resolver.resolve(HOST)

    with pytest.raises(dns.resolver.NoNameservers, match="can't ask in a namespace"):
        trio.run(ask_asynchronously)
