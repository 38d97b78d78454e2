"""The service puts the hub and its parts together."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from nsbrokerd.clients.client import Person
from nsbrokerd.clients.persons import Persons
from nsbrokerd.clients.quotas import Quotas
from nsbrokerd.namespaces.netns import Gate
from nsbrokerd.namespaces.sent_descriptors import SentNamespaces
from nsbrokerd.policy import Policy
from nsbrokerd.requests.operation import InForce
from nsbrokerd.service.lifecycle import Service
from nsbrokerd.serving.hub import Hub
from support.brokers.fake_intake import FakeCloser


@pytest.fixture
def hub(listener: socket.socket) -> Iterator[Hub]:
    gate, quotas = Gate(), Quotas()
    service: Any = SimpleNamespace(
        _in_force=InForce(Policy(()), None, None),  # type: ignore[arg-type]  # no request comes
        _gate=gate,
        _sent=SentNamespaces(gate.home_fd),
        _listener=listener,
        _closer=FakeCloser(),
        _quotas=quotas,
        _persons=Persons(quotas),
    )
    nursery: Any = None
    hub = Service._new_hub(service, nursery)
    yield hub
    hub.finish()
    os.close(gate.home_fd)


def test_time_of_a_task_is_that_of_its_person(hub: Hub) -> None:
    """Otherwise a person could have its requests served in tasks, beside its turns."""
    person = Person(1000, 0, 1)
    hub._intake._tasks.charge(person, 0.0001)
    assert person.used_s == 0.0001


def test_request_goes_on_as_long_as_the_hub_has_nobody_who_waits(hub: Hub) -> None:
    assert hub._intake._time_slice.is_awaited == hub.is_awaited
