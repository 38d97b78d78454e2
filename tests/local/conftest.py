"""The fixture that these tests share: a broker that is no daemon."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.brokers.fake import FakeBroker, fake_broker


@pytest.fixture
def broker() -> Iterator[FakeBroker]:
    with fake_broker() as broker:
        yield broker
