"""The kernel test that the README of the tests shows."""

from __future__ import annotations

import re
from collections.abc import Callable

from nsbroker.wire import DENIED
from support.brokers.process import BrokerProcess
from support.brokers.raw_client import connect_as, tcp
from support.checkout import TESTS
from support.users import USER


def test_example_passes(make_namespace: Callable[..., str], start_broker: Callable[..., BrokerProcess]) -> None:
    """As it stands there, with these names imported."""
    [code] = re.findall(r"```python\n(.*?)```", (TESTS / "README.md").read_text(), re.DOTALL)
    names: dict[str, object] = {"USER": USER, "DENIED": DENIED, "connect_as": connect_as, "tcp": tcp}
    exec(code, names)
    [test] = [value for name, value in names.items() if name.startswith("test_")]
    assert callable(test)
    test(make_namespace, start_broker)
