"""The exporter of the documents serves the metrics of all namespaces to a real scrape, as a user without rights."""

from __future__ import annotations

import json
import os
import re
import socket
import urllib.request
from collections.abc import Callable

import prometheus_client.core  # The program imports it as a user who may be unable to read it.
import prometheus_client.parser
import pytest

import nsbroker.adapters.pyroute2  # noqa: F401  # some users can't read the files of the package
from support.adapters.programs import Function
from support.brokers.process import BrokerProcess
from support.documents import examples
from support.inside import call_inside
from support.namespaces import PREFIX, ip
from support.sockets_inside import open_inside
from support.users import GROUP, USER

[EXAMPLE] = examples("python metrics")
PORT = 9100

Samples = dict[tuple[str, frozenset[str]], float]


def export(path: str) -> None:
    os.environ["NSBROKER_SOCKET"] = path
    os.setgroups([])
    os.setresgid(GROUP, GROUP, GROUP)
    os.setresuid(USER, USER, USER)
    exec(compile(EXAMPLE.text, str(EXAMPLE), "exec"), {"__name__": "__main__"})


def scrape() -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=20) as answer:
        return str(answer.read().decode())


def scraped(namespace: str) -> Samples:
    families = prometheus_client.parser.text_string_to_metric_families(call_inside(namespace, scrape))
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("netns_")
    }


def received(namespace: str) -> int:
    [link] = json.loads(ip("-n", namespace, "-json", "-statistics", "link", "show", "dev", "of1"))
    return int(link["stats64"]["rx"]["bytes"])


def send(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x" * 1000, (address, 9))


@pytest.fixture
def policy() -> str:
    [text] = [other.text for other in examples("toml") if other.document == EXAMPLE.document]
    return re.sub("^users.*", 'users = ["*"]', text, flags=re.MULTILINE).replace(
        '["*"]\nsockets', f'["{PREFIX}x*"]\nsockets'
    )


def test_exporter_serves_all_namespaces(
    make_namespace: Callable[[str], str], start_broker: Callable[[str], BrokerProcess], policy: str
) -> None:
    """Also those that come later, and none of those that are gone. Its own namespace is not among them."""
    own, first, second = (make_namespace(label) for label in ("own", "x1", "x2"))
    ip("-n", first, "link", "add", "of1", "type", "veth", "peer", "name", "of2", "netns", second)
    for name, device, address in ((first, "of1", "10.9.0.1"), (second, "of2", "10.9.0.2")):
        ip("-n", name, "address", "add", f"{address}/24", "dev", device)
        ip("-n", name, "link", "set", device, "up")
    exporter = Function(own, [PORT], export, str(start_broker(policy).socket_path))
    try:
        with open_inside(first, socket.SOCK_STREAM, 7), open_inside(first, socket.SOCK_STREAM, 8, socket.AF_INET6):
            samples = scraped(own)
        assert {labels for name, labels in samples if name == "netns_up"} == {frozenset({first}), frozenset({second})}
        assert samples["netns_tcp_sockets", frozenset({first, "listen"})] == 2
        assert samples["netns_tcp_sockets", frozenset({second, "listen"})] == 0
        assert samples["netns_address_info", frozenset({first, "of1", "10.9.0.1"})] == 1
        assert ("netns_address_info", frozenset({second, "of1", "10.9.0.1"})) not in samples

        before = received(first)
        call_inside(second, send, "10.9.0.1")
        now = scraped(own)["netns_rx_bytes_total", frozenset({first, "of1"})]
        assert before + 1000 < now <= received(first)

        third = make_namespace("x3")
        ip("netns", "delete", second)
        samples = scraped(own)
        assert {labels for name, labels in samples if name == "netns_up"} == {frozenset({first}), frozenset({third})}
    finally:
        exporter.stop()
