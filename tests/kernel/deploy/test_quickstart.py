"""deploy/quickstart does the things that it prints, and removes everything afterwards."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.checkout import DEPLOY
from support.users import as_user

QUICKSTART = DEPLOY / "quickstart"
NOBODY = 65534
"""The user that the policy of the quickstart names."""


@pytest.fixture
def temporary(open_directory: Path, make_namespace: Callable[..., str]) -> Path:
    """An empty directory that every user can enter. A test that uses it can make namespaces."""
    return open_directory


def run(temporary: Path, *arguments: str) -> str:
    # The Python that a user would get, not the one of the tests' environment.
    environment = {**os.environ, "TMPDIR": str(temporary), "PATH": os.environ["PATH"].partition(":")[2]}
    environment.pop("PYTHON", None)
    done = subprocess.run(
        ["bash", str(QUICKSTART), *arguments], cwd="/", env=environment, capture_output=True, text=True, check=False
    )
    if "No Python >= 3.11 can be used here" in done.stderr:
        pytest.skip("there is no Python that the unprivileged user can run")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def namespaces_of(output: str) -> list[str]:
    names = sorted(set(re.findall(r"nsq\d+-(?:alpha|beta)", output)))
    assert len(names) == 2
    return names


def test_it_shows_everything_and_leaves_nothing(temporary: Path) -> None:
    output = run(temporary)
    for name in ["@host", *namespaces_of(output)]:
        assert output.count(f"this is the server in {name}\n") == 2
    assert "Port 81" in output
    assert "(exit status 1)" in output
    assert [name for name in namespaces_of(output) if os.path.exists(f"/run/netns/{name}")] == []
    assert list(temporary.iterdir()) == []


def test_with_keep_the_broker_stays_until_it_is_removed(temporary: Path) -> None:
    output = run(temporary, "--keep")
    [directory] = temporary.iterdir()
    try:
        assert all(os.path.exists(f"/run/netns/{name}") for name in namespaces_of(output))
        listed = as_user(
            NOBODY,
            NOBODY,
            subprocess.check_output,
            [f"{directory}/venv/bin/nsbroker-get", "--broker", f"{directory}/nsbroker.sock", "list"],
        )
        assert namespaces_of(listed.decode()) == namespaces_of(output)
    finally:
        subprocess.run([f"{directory}/remove"], check=True)
    assert [name for name in namespaces_of(output) if os.path.exists(f"/run/netns/{name}")] == []
    assert list(temporary.iterdir()) == []
