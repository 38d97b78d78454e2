"""Gets the test run ready for attackers and victims, who are other users."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _many_descriptors() -> Iterator[None]:
    """Let attackers have as many descriptors as the machine allows them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
