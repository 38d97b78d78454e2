"""The metrics are those of the status, in a form that Prometheus' own tool accepts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from nsbrokerd.commands import exporter
from nsbrokerd.commands.exporter import StatusCollector
from support.status import STATUS


def metrics_of(status: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch) -> str:
    if status is not None:
        monkeypatch.setattr(exporter, "ask", lambda *_: status)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StatusCollector("/nowhere"))
    return generate_latest(registry).decode()


def test_each_number_of_the_status_is_a_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = metrics_of(STATUS, monkeypatch).splitlines()
    for line in (
        "nsbroker_up 1.0",
        'nsbroker_info{version="1.2.3"} 1.0',
        "nsbroker_start_time_seconds 1.7e+09",
        "nsbroker_policy_grants 2.0",
        "nsbroker_last_reload_successful 0.0",
        "nsbroker_faults 1.0",
        "nsbroker_clients 3.0",
        'nsbroker_requests_answered_total{operation="open"} 7.0',
        "nsbroker_requests_refused_total 4.0",
        'nsbroker_sockets_handed_out_total{grant="web \\"1\\"",namespace="blue",user="root"} 6.0',
        'nsbroker_sockets_handed_out_total{grant="(others)",namespace="(others)",user="(others)"} 1.0',
        'nsbroker_refusals_total{grant="",reason="denied",user="root"} 4.0',
        'nsbroker_engine_questions_total{engine="podman"} 5.0',
        'nsbroker_engine_questions_failed_total{engine="podman"} 2.0',
        'nsbroker_quota_used{quota="clients_per_user"} 2.0',
        'nsbroker_quota_most{quota="bytes_of_answers"} 100.0',
    ):
        assert line in lines


def test_rows_with_one_name_are_one_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status cuts long names, so two rows can have the same."""
    row = {"uid": 0, "grant": "g", "namespace": "a...", "count": 1}
    text = metrics_of({**STATUS, "sockets": [row, row]}, monkeypatch)
    assert text.count("nsbroker_sockets_handed_out_total{") == 1
    assert 'namespace="a...",user="root"} 2.0' in text


def test_broker_that_is_gone_is_not_up(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line for line in metrics_of(None, monkeypatch).splitlines() if not line.startswith("#")]
    assert lines == ["nsbroker_up 0.0"]


@pytest.mark.parametrize("status", [STATUS, None])
def test_promtool_finds_no_mistake(status: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    promtool = shutil.which("promtool") or pytest.skip("there is no promtool")
    text = metrics_of(status, monkeypatch)
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_daemon_never_loads_the_library(tmp_path: Path) -> None:
    """Only the command `metrics` does."""
    code = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from nsbrokerd.commands.main import COMMANDS, build_parser\n"
        "for name in COMMANDS: build_parser([name])\n"
        "import nsbrokerd.service.lifecycle\n"
    )
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    subprocess.run([sys.executable, "-B", "-c", code], env=environment, check=True, cwd=tmp_path)
