"""The tests of this directory run inside the machine of tests/vm/run, on the service as it is installed there."""

from __future__ import annotations

import os

import pytest

from support.installed_service import Installed


@pytest.fixture(scope="session", autouse=True)
def _only_in_the_machine() -> None:
    if os.environ.get("NSBROKER_VM") != "1":
        pytest.skip("these change the services of the machine: tests/run --vm runs them in one of their own")


@pytest.fixture(scope="session")
def installed(_only_in_the_machine: None) -> Installed:
    """The broker that systemd starts; the commands of deploy/docs/install.md have enabled its socket."""
    return Installed()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Print a failure at once, because the machine may end before the summary."""
    if report.failed:
        print(f"\n{report.longreprtext}")
