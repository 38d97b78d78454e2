"""The client in Go: its own tests, and those with a real broker, in real namespaces and as a user without rights.

The tests of client/go that begin with TestKernel are the ones with a broker. Each runs here, by its name.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.brokers.process import BrokerProcess
from support.go_programs import CLIENT, Go
from support.names.etc_netns import make_files, remove_files
from support.users import GROUP, USER
from support.waiting import LIMIT_S

RESTARTS = 5


@pytest.fixture(scope="module")
def go(request: pytest.FixtureRequest) -> Go:
    if reason := Go.why_not():
        pytest.skip(reason)
    assert request.config.cache is not None
    return Go(request.config.cache.mkdir("go-build"))


@pytest.fixture(scope="module")
def tests(go: Go, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return go.build_tests(tmp_path_factory.mktemp("go"))


@pytest.fixture
def program(tests: Path, open_directory: Path) -> Path:
    """The tests as a program that every user can run."""
    return Path(shutil.copy(tests, open_directory))


@pytest.fixture
def names(make_namespace: Callable[[str], str]) -> Iterator[list[str]]:
    """Three namespaces, in each of which server.test is its own loopback."""
    made: list[str] = []
    try:
        for label in ("go-a", "go-b", "go-c"):
            made.append(make_namespace(label))
            (make_files(made[-1]) / "hosts").write_text("127.0.0.1 server.test\n")
        yield made
    finally:
        for name in made:
            remove_files(name)


def start(program: Path, test: str, broker: BrokerProcess, names: list[str]) -> subprocess.Popen[str]:
    """Start one test as the user without rights."""
    return subprocess.Popen(
        [str(program), f"-test.run=^{test}$", f"-test.timeout={LIMIT_S}s", "-test.v"],
        cwd="/",
        env={"NSBROKER_SOCKET": str(broker.socket_path), "NSBROKER_TEST_NAMESPACES": ",".join(names)},
        user=USER,
        group=GROUP,
        extra_groups=[],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def passes(process: subprocess.Popen[str]) -> None:
    """Wait for a test. It must pass, and must not have been skipped."""
    output, _ = process.communicate(timeout=2 * LIMIT_S)
    assert process.returncode == 0, output
    assert "--- PASS: TestKernel" in output, output


def test_sources_are_formatted(go: Go) -> None:
    done = subprocess.run(["gofmt", "-l", "."], cwd=CLIENT, capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_vet_finds_nothing(go: Go) -> None:
    done = go.run("vet", "./...")
    assert done.returncode == 0, done.stdout + done.stderr


def test_module_needs_no_other() -> None:
    """A program of the previous Debian builds with its own compiler alone."""
    text = (CLIENT / "go.mod").read_text()
    assert "\ngo 1.19\n" in text
    assert "require" not in text


def test_own_tests_pass(go: Go) -> None:
    """The vectors of the protocol, and a broker that misbehaves, under the race detector."""
    done = go.run("test", *go.race, "-count=1", "-timeout=120s", "./...")
    assert done.returncode == 0, done.stdout + done.stderr


WITH_ALL_GRANTS = [
    "TestKernelTwoHundredGoroutines",
    "TestKernelSocketsAreInTheirNamespaces",
    "TestKernelClosedMeansClosed",
    "TestKernelFamilies",
    "TestKernelMissingNamespace",
]


def test_every_test_with_a_broker_runs_here() -> None:
    found = re.findall(r"^func (TestKernel\w+)", (CLIENT / "kernel_test.go").read_text(), re.MULTILINE)
    assert set(found) == {*WITH_ALL_GRANTS, "TestKernelRestarts", "TestKernelRefusals"}


@pytest.mark.parametrize("test", WITH_ALL_GRANTS)
def test_with_a_broker(program: Path, broker: BrokerProcess, names: list[str], test: str) -> None:
    passes(start(program, test, broker, names))


def test_restarts_go_unnoticed(program: Path, broker: BrokerProcess, names: list[str]) -> None:
    """The broker is killed while 20 goroutines ask it without a pause. None of them gets an error."""
    process = start(program, "TestKernelRestarts", broker, names)
    assert process.stdin is not None
    assert process.stdout is not None
    for _ in range(RESTARTS):
        for line in process.stdout:
            if line == "goes on\n":
                break
        else:
            break  # It ended. `passes` shows why.
        broker.kill()
        broker.start()
        process.stdin.write("restarted\n")
        process.stdin.flush()
    passes(process)


def test_refusals_are_the_errors_that_one_expects(
    program: Path, start_broker: Callable[[str], BrokerProcess], names: list[str]
) -> None:
    broker = start_broker(
        f'[[grant]]\nname = "tcp"\nusers = [{USER}]\nnamespaces = ["{names[0]}"]\nsockets = ["tcp"]\n'
    )
    passes(start(program, "TestKernelRefusals", broker, names))
