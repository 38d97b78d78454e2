"""The OCI hook under podman, with crun and runc: a container without a network of an engine gets a name."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import namespaces
from support.checkout import CHECKOUT, DEPLOY
from support.documents import examples
from support.namespaces import PREFIX
from support.unified_podman import UnifiedPodman

IMAGE = "localhost/nsbroker"
"""Any image would do."""

HOOKS = DEPLOY / "container" / "hooks"
NAME = f"{PREFIX}hooked"
ANNOTATION = f"--annotation=org.nsbroker.name={NAME}"


@pytest.fixture(params=["crun", "runc"])
def hooked(request: pytest.FixtureRequest, podman: UnifiedPodman, image: str) -> Iterator[UnifiedPodman]:
    """Podman with the hook of the checkout, and an image."""
    assert image == IMAGE
    for path in HOOKS.glob("*.json"):
        text = path.read_text().replace("/usr/local/libexec/nsbroker-name", str(HOOKS / "nsbroker-name"))
        (podman.directory / "hooks" / path.name).write_text(text)
    yield podman.with_runtime(request.param)
    podman.run("rm", "--force", "--time=0", NAME)
    for path in HOOKS.glob("*.json"):
        (podman.directory / "hooks" / path.name).unlink()


def start(podman: UnifiedPodman, *options: str) -> int:
    """Start a container that waits, and return its pid."""
    podman("run", "--detach", "--init=false", f"--name={NAME}", *options, IMAGE, "sleep", "100000")
    return int(podman("inspect", "--format={{.State.Pid}}", NAME))


def means(podman: UnifiedPodman, pid: int) -> bool:
    """Whether the name means the namespace of a process."""
    return os.path.samestat((podman.names / NAME).stat(), os.stat(f"/proc/{pid}/ns/net"))


def test_container_without_a_network_has_its_name_while_it_runs(hooked: UnifiedPodman) -> None:
    assert means(hooked, start(hooked, "--network=none", ANNOTATION))
    hooked("stop", "--time=0", NAME)
    assert not namespaces.exists(NAME)
    hooked("start", NAME)
    assert means(hooked, int(hooked("inspect", "--format={{.State.Pid}}", NAME)))
    hooked("rm", "--force", "--time=0", NAME)
    assert not namespaces.exists(NAME)


def test_container_without_the_annotation_has_none(hooked: UnifiedPodman) -> None:
    start(hooked, "--network=none")
    assert not namespaces.exists(NAME)


def test_name_that_is_taken_keeps_the_container_from_starting(hooked: UnifiedPodman) -> None:
    namespaces.make(NAME)
    try:
        before = os.stat(f"/run/netns/{NAME}")
        done = hooked.run("run", f"--name={NAME}", "--network=none", ANNOTATION, IMAGE, "true")
        assert done.returncode != 0
        hooked("rm", "--force", "--time=0", NAME)
        assert os.path.samestat(os.stat(f"/run/netns/{NAME}"), before)
    finally:
        namespaces.delete(NAME)


@pytest.mark.parametrize("name", ["podman:web", "../x", "netns-0a"])
def test_bad_name_keeps_the_container_from_starting(hooked: UnifiedPodman, name: str) -> None:
    annotation = f"--annotation=org.nsbroker.name={name}"
    done = hooked.run("run", f"--name={NAME}", "--network=none", annotation, IMAGE, "true")
    assert done.returncode != 0


def test_host_gets_no_name(hooked: UnifiedPodman) -> None:
    done = hooked.run("run", f"--name={NAME}", "--network=host", ANNOTATION, IMAGE, "true")
    assert done.returncode != 0
    assert not namespaces.exists(NAME)


def test_commands_of_the_document_give_a_container_its_name(hooked: UnifiedPodman, tmp_path: Path) -> None:
    """They install the files that podman reads, and the option of the last one is that of these tests."""
    [install] = examples("sh hook")
    text = install.text.replace("/usr/local/", f"{tmp_path}/local/").replace("/etc/", f"{tmp_path}/etc/")
    subprocess.run(["bash", "-euc", text], cwd=CHECKOUT, check=True)
    installed = sorted(path.name for path in (tmp_path / "etc/containers/oci/hooks.d").iterdir())
    assert installed == ["nsbroker-name-attach.json", "nsbroker-name-detach.json"]
    for name in installed:
        named = json.loads((tmp_path / "etc/containers/oci/hooks.d" / name).read_text())["hook"]["path"]
        assert os.access(named.replace("/usr/local/", f"{tmp_path}/local/"), os.X_OK)
    [run] = examples("sh hook run")
    words = shlex.split(run.text.replace("=web", f"={NAME}").replace(" web ", f" {NAME} ").replace("IMAGE", IMAGE))
    hooked(*words[1:], "sleep", "100000")
    assert means(hooked, int(hooked("inspect", "--format={{.State.Pid}}", NAME)))
