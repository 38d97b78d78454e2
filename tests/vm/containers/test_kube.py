"""The DaemonSet of deploy/kubernetes under `podman kube play`, on one host without Kubernetes."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.checkout import DEPLOY
from support.inside import cookie_inside
from support.installed_service import SOCKET_PATH, Installed, command, systemctl, tcp
from support.users import USER
from support.waiting import wait_until

BASE = DEPLOY / "kubernetes" / "base"
GRANT = f'[[grant]]\nname = "g"\nusers = [{USER}]\nnamespaces = ["*", "!*-closed"]\nsockets = ["tcp"]\n'


@pytest.fixture
def played(installed: Installed, tmp_path: Path) -> Iterator[str]:
    """The DaemonSet as it stands, and its ConfigMap. Return the name of the container."""
    systemctl("stop", "nsbrokerd.socket", "nsbrokerd.service")
    clients = f"root:x:0:\nnsbroker:x:{installed.client_groups[0]}:\nnsbroker-status:x:7614:\n"
    data = {"nsbrokerd.toml": (BASE / "nsbrokerd.toml").read_text(), "grants.toml": GRANT, "group": clients}
    config = tmp_path / "config.json"
    metadata = {"name": "nsbroker-policy"}
    config.write_text(json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}))
    setup = BASE / "daemonset.yaml"
    print(command("podman", "kube", "play", f"--configmap={config}", str(setup)))
    try:
        yield "nsbroker-pod-broker"
    finally:
        began = time.monotonic()
        print(command("podman", "kube", "down", str(setup)))
        print(f"kube down: {time.monotonic() - began:.1f} s")
        systemctl("start", "nsbrokerd.socket")


def test_broker_serves_namespaces_that_are_named_later(
    played: str, installed: Installed, make_namespace: Callable[..., str]
) -> None:
    def is_ready() -> bool:
        done = subprocess.run(
            ["podman", "exec", played, "nsbrokerd", "health"], capture_output=True, text=True, check=False
        )
        print(done.stdout, done.stderr)
        return done.returncode == 0

    wait_until(is_ready)
    assert SOCKET_PATH.stat().st_gid == installed.client_groups[0]
    name = make_namespace()
    [(_, cookie, _)] = installed.open_as_member(tcp(name))
    assert cookie == cookie_inside(name)
