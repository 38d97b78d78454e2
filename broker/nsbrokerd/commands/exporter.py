"""Translates the status to the metrics of Prometheus, at each question of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from ..control.asking import AskError, ask
from ..control.packets import STATUS, Fields, Request
from .output import user

_TIMEOUT_S = 2.0
_OTHERS = "(others)"


def start(control: str, host: str, port: int) -> int:
    """Serve the metrics of the broker with this control socket, in threads. Return the port.

    Raises:
        OSError: the address can't be listened on.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StatusCollector(control))
    server, _ = start_http_server(port, host, registry)
    return server.server_port


class StatusCollector(Collector):
    """Asks the broker each time, so nothing here can be out of date."""

    def __init__(self, control: str) -> None:
        self._control = control

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics, or only that the broker does not answer."""
        try:
            status = ask(self._control, Request(STATUS), _TIMEOUT_S)
        except AskError:
            yield GaugeMetricFamily("nsbroker_up", "Whether the broker answers.", 0)
            return
        yield GaugeMetricFamily("nsbroker_up", "Whether the broker answers.", 1)
        yield from _translate(status)


def _translate(status: Fields) -> Iterator[Metric]:
    info = InfoMetricFamily("nsbroker", "The version of the broker.")
    info.add_metric([], {"version": status["version"]})
    yield info
    policy, reload, requests = status["policy"], status["reload"], status["requests"]
    yield _gauge("start_time_seconds", "When the broker started.", _seconds(status["started"]))
    yield _gauge("policy_grants", "Grants in force.", policy["grants"])
    yield _gauge("policy_start_time_seconds", "Since when the policy is in force.", _seconds(policy["since"]))
    succeeded = reload is None or reload["problem"] is None
    yield _gauge("last_reload_successful", "Whether the last reload succeeded. 1 without a reload.", int(succeeded))
    yield _gauge("faults", "Faults that an administrator has to repair.", len(status["faults"]))
    yield _gauge("clients", "Connections of clients.", status["clients"])
    yield _gauge("users", "Users that are connected.", status["persons"])
    answered = CounterMetricFamily("nsbroker_requests_answered", "Requests that were answered.", labels=["operation"])
    for operation, number in requests["answered"].items():
        answered.add_metric([operation], number)
    yield answered
    yield CounterMetricFamily("nsbroker_requests_refused", "Requests that were refused.", requests["refused"])
    yield _table("sockets_handed_out", "Sockets that were handed out.", status["sockets"], ("grant", "namespace"))
    yield _table("refusals", "Requests that were refused, by reason.", status["refusals"], ("reason", "grant"))
    yield from _engines(status["engines"])
    used = GaugeMetricFamily(
        "nsbroker_quota_used", "How much of a quota is in use, by the user who uses the most.", labels=["quota"]
    )
    most = GaugeMetricFamily("nsbroker_quota_most", "The most that a quota allows.", labels=["quota"])
    for quota in status["quotas"]:
        label = [quota["quota"].replace(" ", "_")]
        used.add_metric(label, quota["used"])
        most.add_metric(label, quota["most"])
    yield used
    yield most


def _engines(engines: list[Fields]) -> Iterator[Metric]:
    """Yield the numbers of the engines that are switched on."""
    if not engines:
        return
    asked = CounterMetricFamily("nsbroker_engine_questions", "Questions to container engines.", labels=["engine"])
    failed = CounterMetricFamily(
        "nsbroker_engine_questions_failed", "Questions that an engine did not answer.", labels=["engine"]
    )
    for engine in engines:
        asked.add_metric([engine["engine"]], engine["asked"])
        failed.add_metric([engine["engine"]], engine["failed"])
    yield asked
    yield failed


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"nsbroker_{name}", text, value)


def _table(name: str, text: str, rows: list[Fields], names: tuple[str, str]) -> Metric:
    """Return the numbers of a table. What has no row of its own has the label "(others)"."""
    numbers: dict[tuple[str, str, str], int] = {}
    for row in rows:
        first, second = (_OTHERS if row[one] is None else row[one] for one in names)
        labels = (user(row["uid"]), first, second)
        numbers[labels] = numbers.get(labels, 0) + row["count"]  # names that were cut can be the same
    metric = CounterMetricFamily(f"nsbroker_{name}", text, labels=["user", *names])
    for labels, number in numbers.items():
        metric.add_metric(labels, number)
    return metric


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
