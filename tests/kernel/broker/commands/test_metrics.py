"""`nsbrokerd metrics` serves the metrics of a real broker, over HTTP, and also while the broker is gone."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from http.client import HTTPConnection

from support.brokers.commands import command_line
from support.brokers.process import START_S, BrokerProcess
from support.brokers.raw_client import RawClient
from support.far_side import socket_inside
from support.waiting import wait_until

PORT = 9758


def test_metrics_are_served_until_the_end(broker: BrokerProcess, make_namespace: Callable[..., str]) -> None:
    """In a namespace of its own, so that no port of the host is taken."""
    name = make_namespace()
    line = ["ip", "netns", "exec", name, *command_line(broker, "metrics", "--listen", f"127.0.0.1:{PORT}")]
    with RawClient(broker) as client:
        assert client.works()
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as exporter:
        try:
            assert exporter.stderr is not None
            while f"metrics at http://127.0.0.1:{PORT}/metrics" not in exporter.stderr.readline():
                assert exporter.poll() is None
            text = fetch(name)
            assert "nsbroker_up 1.0" in text
            assert 'nsbroker_requests_answered_total{operation="open"} 1.0' in text
            broker.stop()
            wait_until(lambda: "nsbroker_up 0.0" in fetch(name))
        finally:
            exporter.terminate()
        assert exporter.wait(START_S) == 0


def fetch(namespace: str) -> str:
    connection = HTTPConnection("127.0.0.1", PORT)
    connection.sock = socket_inside(namespace, 2, 1)
    connection.sock.connect(("127.0.0.1", PORT))
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def test_wrong_address_and_a_missing_library_are_named(broker: BrokerProcess) -> None:
    done = subprocess.run(
        command_line(broker, "metrics", "--listen", "nowhere"), capture_output=True, text=True, check=False
    )
    assert (done.returncode, "is not ADDRESS:PORT" in done.stderr) == (2, True)
    code = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from nsbrokerd.commands.main import main\n"
        f"sys.argv = ['nsbrokerd', 'metrics', '--config', '{broker.config_path}']\n"
        "sys.exit(main())\n"
    )
    python = command_line(broker, "metrics")[0]
    done = subprocess.run([python, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "install nsbroker[metrics], or python3-prometheus-client" in done.stderr
