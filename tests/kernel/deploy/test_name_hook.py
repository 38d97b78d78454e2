"""The OCI hook that names a container's namespace. These tests write the container's state as a runtime does."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import namespaces
from support.checkout import DEPLOY
from support.namespaces import PREFIX

HOOK = DEPLOY / "container" / "hooks" / "nsbroker-name"
ID = f"{PREFIX}c"
NAME = f"{PREFIX}hooked"
RECORD = Path("/run/nsbroker-names", ID)


def run(stage: str, state: object) -> subprocess.CompletedProcess[str]:
    text = state if isinstance(state, str) else json.dumps(state)
    line = ["python3", "-I", str(HOOK), stage]
    return subprocess.run(line, input=text, capture_output=True, text=True, timeout=60, check=False, env={})


def state_of(pid: int, name: object = NAME, **also: Any) -> dict[str, Any]:
    return {"ociVersion": "1.0.2", "id": ID, "pid": pid, "annotations": {"org.nsbroker.name": name}, **also}


def refusal(stage: str, state: object) -> str:
    """The one line of a hook that fails."""
    done = run(stage, state)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


@pytest.fixture
def start_inside() -> Iterator[Callable[[], int]]:
    """Start processes, each in a network namespace of its own. Return the pid."""
    if reason := namespaces.why_not():
        pytest.skip(reason)
    started: list[subprocess.Popen[bytes]] = []

    def start() -> int:
        line = ["unshare", "--net", "sh", "-c", "echo; exec cat"]
        started.append(subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        assert started[-1].stdout is not None
        assert started[-1].stdout.read(1) == b"\n"
        return started[-1].pid

    yield start
    for one in started:
        one.communicate()
    subprocess.run(["ip", "netns", "delete", NAME], stderr=subprocess.DEVNULL, check=False)
    RECORD.unlink(missing_ok=True)


def means(name: str, pid: int) -> bool:
    """Whether a name means the namespace of a process."""
    return os.path.samestat(os.stat(f"/run/netns/{name}"), os.stat(f"/proc/{pid}/ns/net"))


def test_container_gets_a_name_and_loses_it(start_inside: Callable[[], int]) -> None:
    pid = start_inside()
    done = run("attach", state_of(pid))
    assert (done.returncode, done.stderr) == (0, "")
    assert means(NAME, pid)
    assert run("detach", {"id": ID}).returncode == 0
    assert not namespaces.exists(NAME)
    assert not RECORD.exists()


def test_second_run_gets_the_name_although_the_first_one_did_not_take_it_back(start_inside: Callable[[], int]) -> None:
    first, second = start_inside(), start_inside()
    assert run("attach", state_of(first)).returncode == 0
    done = run("attach", state_of(second))
    assert (done.returncode, done.stderr) == (0, "")
    assert means(NAME, second)


def test_entry_of_another_is_neither_replaced_nor_removed(
    start_inside: Callable[[], int], make_namespace: Callable[..., str]
) -> None:
    other, pid = make_namespace(), start_inside()
    before = os.stat(f"/run/netns/{other}")
    told = refusal("attach", state_of(pid, other))
    assert f"it exists: use another name, or run ip netns delete {other}" in told
    assert run("detach", {"id": ID}).returncode == 0
    assert os.path.samestat(os.stat(f"/run/netns/{other}"), before)


def test_entry_of_the_same_namespace_is_not_removed(make_namespace: Callable[..., str]) -> None:
    """A container can join a namespace that has a name already."""
    other = make_namespace()
    line = ["ip", "netns", "exec", other, "sh", "-c", "echo; exec cat"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as member:
        assert member.stdout is not None
        assert member.stdout.read(1) == b"\n"
        told = refusal("attach", state_of(member.pid, other))
        member.communicate()
    assert f"it exists: use another name, or run ip netns delete {other}" in told
    assert namespaces.exists(other)
    assert not RECORD.exists()


def test_entry_that_was_made_anew_is_not_removed(start_inside: Callable[[], int]) -> None:
    assert run("attach", state_of(start_inside())).returncode == 0
    namespaces.delete(NAME)
    namespaces.make(NAME)
    assert run("detach", {"id": ID}).returncode == 0
    assert namespaces.exists(NAME)


def test_entry_of_a_later_namespace_with_the_same_inode_is_not_removed(start_inside: Callable[[], int]) -> None:
    assert run("attach", state_of(start_inside())).returncode == 0
    record = json.loads(RECORD.read_text())
    record["identity"][2] = 0
    RECORD.write_text(json.dumps(record))
    assert run("detach", {"id": ID}).returncode == 0
    assert namespaces.exists(NAME)


def test_host_gets_no_name(start_inside: Callable[[], int]) -> None:
    start_inside()
    assert "has the network of the host, which is @host" in refusal("attach", state_of(os.getpid()))
    assert not namespaces.exists(NAME)


BAD_NAMES = ["", ".", "..", "-x", "a/b", "../x", "a b", "a\n", "Web", "podman:web", "@host", "wéb", "a" * 64, 7, None]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_name_is_refused(name: object) -> None:
    assert "is no name for a namespace" in refusal("attach", state_of(os.getpid(), name))


@pytest.mark.parametrize("name", ["netns-0a", "cni-0a"])
def test_name_of_an_engine_is_refused(name: str) -> None:
    assert "those of engines" in refusal("attach", state_of(os.getpid(), name))


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ([], "no object"),
        ({}, "no id"),
        ({"id": "../x"}, "no id"),
        ({"id": "a" * 256}, "no id"),
        ({"id": ID}, "no name for a namespace"),
        (state_of(0), "no pid"),
        ({**state_of(1), "pid": "1"}, "no pid"),
        (" " * ((1 << 20) + 1), "longer than 1 MiB"),
    ],
    ids=["empty", "deep", "list", "no id", "path", "long id", "no annotation", "pid 0", "pid as text", "too long"],
)
def test_state_that_is_none_is_refused(state: object, told: str) -> None:
    assert told in refusal("attach", state)


def test_hooks_are_for_containers_with_the_annotation_alone() -> None:
    for stage, when in (("attach", "createRuntime"), ("detach", "poststop")):
        hook = json.loads((HOOK.parent / f"nsbroker-name-{stage}.json").read_text())
        assert hook["stages"] == [when]
        assert hook["hook"]["args"] == ["nsbroker-name", stage]
        assert hook["when"] == {"annotations": {r"^org\.nsbroker\.name$": ".*"}}
