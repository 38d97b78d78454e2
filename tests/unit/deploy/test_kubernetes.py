"""The setup for Kubernetes: its files fit together, the schema of Kubernetes has each field, and it grants no more."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from shutil import copytree, which

import pytest
import yaml

from nsbrokerd.config import parse_config
from nsbrokerd.policy.engine_names import ENGINES
from support.checkout import CHECKOUT
from support.documents import Example, examples
from support.everybody import Everybody
from support.kustomize import SETUP, Object, broker_of, build, daemon_set, directories, files_of, overlays

OVERLAYS = overlays()
VERSIONS = ("1.27", "1.32")
"""Of Kubernetes."""


def test_every_file_is_named_and_every_named_file_exists() -> None:
    named = {file.resolve() for directory in directories() for file in files_of(directory)}
    assert [file for file in named if not file.exists()] == []
    assert all((file / "kustomization.yaml").exists() for file in named if file.is_dir())
    others = {path for path in SETUP.rglob("*") if path.is_file() and path.name != "kustomization.yaml"}
    assert others - named == set()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("directory", [*OVERLAYS, SETUP / "example"], ids=lambda path: path.name)
def test_schema_of_kubernetes_has_each_field(directory: Path, version: str, tmp_path: Path) -> None:
    objects, _ = build(directory, ("limits",) if directory in OVERLAYS else ())
    file = tmp_path / "objects.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    done = validate(file, version)
    assert done.returncode == 0, done.stdout + done.stderr


def test_misspelt_field_is_noticed(tmp_path: Path) -> None:
    objects, _ = build(OVERLAYS[0])
    broker_of(objects)["securityContext"]["readOnlyRootFileSystem"] = True
    file = tmp_path / "objects.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    assert validate(file, VERSIONS[0]).returncode != 0


def validate(file: Path, version: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "kubernetes_validate", "--strict", "-k", version, str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(which("kubectl") is None, reason="there is no kubectl")
@pytest.mark.parametrize("directory", [*OVERLAYS, SETUP / "example"], ids=lambda path: path.name)
def test_kustomize_builds_the_objects_of_these_tests(directory: Path) -> None:
    done = subprocess.run(["kubectl", "kustomize", str(directory)], capture_output=True, text=True, check=True)
    built = {(found["kind"], found["metadata"]["name"]): found for found in yaml.safe_load_all(done.stdout)}
    objects, texts = build(directory)
    assert len(built) == len(objects) + bool(texts)
    for found in objects:
        assert (found["kind"], found["metadata"]["name"]) in built
    if texts:
        (policy,) = [found for (kind, _), found in built.items() if kind == "ConfigMap"]
        assert policy["data"] == texts
        assert re.fullmatch("nsbroker-policy-[a-z0-9]{10}", policy["metadata"]["name"])
        volumes = built["DaemonSet", "nsbroker"]["spec"]["template"]["spec"]["volumes"]
        assert policy["metadata"]["name"] in {volume.get("configMap", {}).get("name") for volume in volumes}
        mounts, expected = (broker_of(of)["volumeMounts"] for of in (list(built.values()), objects))
        assert sorted(map(in_order, mounts)) == sorted(map(in_order, expected))


def in_order(value: Object) -> str:
    return json.dumps(value, sort_keys=True)


@pytest.mark.parametrize("directory", OVERLAYS, ids=lambda path: path.name)
def test_broker_has_the_capabilities_of_the_unit_and_chown(directory: Path) -> None:
    unit = (CHECKOUT / "deploy" / "nsbrokerd.service").read_text()
    (line,) = re.findall(r"^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE)
    context = broker_of(build(directory)[0])["securityContext"]
    assert context["capabilities"]["drop"] == ["ALL"]
    assert {f"CAP_{name}" for name in context["capabilities"]["add"]} == {*line.split(), "CAP_CHOWN"}


@pytest.mark.parametrize("directory", OVERLAYS, ids=lambda path: path.name)
def test_broker_has_no_further_rights(directory: Path) -> None:
    objects, _ = build(directory)
    pod, container = daemon_set(objects)["spec"]["template"]["spec"], broker_of(objects)
    assert "privileged" not in container["securityContext"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert pod["hostNetwork"] is True
    assert "hostPID" not in pod
    assert "hostIPC" not in pod
    assert pod["automountServiceAccountToken"] is False
    writable = {mount["name"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"socket"}


@pytest.mark.parametrize("directory", OVERLAYS, ids=lambda path: path.name)
def test_broker_sees_what_is_mounted_later(directory: Path) -> None:
    """Namespaces of later pods, and the socket of a runtime that starts again."""
    objects, texts = build(directory)
    mounts = {mount["name"]: mount for mount in broker_of(objects)["volumeMounts"]}
    for name in ("namespaces", "runtime", "pod-files"):
        assert mounts[name]["mountPropagation"] == "HostToContainer"
    assert mounts["namespaces"]["mountPath"] == "/run/netns"
    settings = tomllib.loads(texts["nsbrokerd.toml"])
    assert settings.keys() == {"engines"}
    assert str(Path(settings["engines"]["pod"]).parent) == mounts["runtime"]["mountPath"]


@pytest.mark.parametrize("directory", OVERLAYS, ids=lambda path: path.name)
def test_every_mount_has_a_volume_of_the_same_path(directory: Path) -> None:
    objects, texts = build(directory, ("limits",))
    volumes = {volume["name"]: volume for volume in daemon_set(objects)["spec"]["template"]["spec"]["volumes"]}
    mounts = broker_of(objects)["volumeMounts"]
    assert {mount["name"] for mount in mounts} == volumes.keys()
    for mount in mounts:
        volume = volumes[mount["name"]]
        if "hostPath" in volume:
            assert volume["hostPath"]["path"] == mount["mountPath"]
        else:
            # The volume's own directory is writable for all, so the broker would refuse it.
            assert mount["subPath"] in texts
            assert Path(mount["mountPath"]).name == mount["subPath"]


@pytest.mark.skipif(which("kubectl") is None, reason="there is no kubectl")
@pytest.mark.parametrize("example", examples("yaml kustomization"), ids=str)
def test_kustomization_of_the_document_is_built(example: Example, tmp_path: Path) -> None:
    (tmp_path / "nsbroker" / "deploy").mkdir(parents=True)
    copytree(SETUP, tmp_path / "nsbroker" / "deploy" / "kubernetes")
    (tmp_path / "kustomization.yaml").write_text(example.text)
    (tmp_path / "grants.toml").write_text("# a policy of the cluster's own\n")
    done = subprocess.run(["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, check=True)
    built = {found["kind"]: found for found in yaml.safe_load_all(done.stdout)}
    assert broker_of(list(built.values()))["image"] == "registry.example.org/nsbroker:1"
    assert built["ConfigMap"]["data"]["grants.toml"] == "# a policy of the cluster's own\n"
    assert built["ConfigMap"]["data"].keys() == {"nsbrokerd.toml", "grants.toml", "group"}


@pytest.mark.parametrize("example", examples("python pod"), ids=str)
def test_program_of_the_document_begins_as_that_of_the_example(example: Example) -> None:
    (pod,) = [found for found in build(SETUP / "example")[0] if found["kind"] == "Pod"]
    (container,) = pod["spec"]["containers"]
    program = container["args"][0]
    compile(program, "client.yaml", "exec")
    assert program.splitlines()[:5] == example.text.splitlines()[:5]
    assert "sendall" in example.text.splitlines()[4]


@pytest.mark.parametrize("example", examples("sh kubectl"), ids=str)
def test_command_of_the_document_has_the_options_that_kubectl_has(example: Example) -> None:
    subprocess.run(["bash", "-n"], input=example.text, text=True, check=True)
    for line in example.text.splitlines():
        command, *words = shlex.split(line)
        if command in {"mkdir", "cp", "nsbrokerd"}:
            continue
        assert command == "kubectl"
        options = [word.partition("=")[0] for word in words if word.startswith("--")]
        if which("kubectl"):
            verbs = [word for word in words if word in {"apply", "rollout", "status", "undo", "logs", "get"}]
            texts = [["kubectl", *verbs, "--help"], ["kubectl", "options"]]
            told = "".join(subprocess.run(text, capture_output=True, text=True, check=True).stdout for text in texts)
            assert [option for option in options if f"{option}=" not in told] == []


def test_no_memory_limit_counts_the_buffers_of_sockets() -> None:
    for directory in OVERLAYS:
        assert "limits" not in broker_of(build(directory)[0])["resources"]


def test_client_has_no_privilege() -> None:
    """It keeps to the restricted level of Pod Security, which its namespace enforces."""
    objects = {found["kind"]: found for found in build(SETUP / "example")[0]}
    pod = objects["Pod"]["spec"]
    (container,) = pod["containers"]
    assert objects["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & pod.keys()
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert [volume.keys() - {"name"} for volume in pod["volumes"]] == [{"persistentVolumeClaim"}]


def test_client_of_the_example_is_the_user_of_the_grant() -> None:
    objects = {found["kind"]: found for found in build(SETUP / "example")[0]}
    pod = objects["Pod"]
    _, texts = build(OVERLAYS[0])
    (grant,) = parse_config(("", texts["nsbrokerd.toml"]), [("", texts["grants.toml"])], Everybody()).policy.grants
    assert f"nsbroker:x:{pod['spec']['securityContext']['supplementalGroups'][0]}:" in texts["group"].splitlines()
    assert grant.users == {pod["spec"]["securityContext"]["runAsUser"]}
    (name,) = re.findall(r'Namespace\("([^"]+)"\)', pod["spec"]["containers"][0]["args"][0])
    assert name.partition(":")[0] in ENGINES
    assert grant.namespaces.covers(name)
    claim, volume = objects["PersistentVolumeClaim"], objects["PersistentVolume"]
    assert claim["metadata"] == {"name": volume["spec"]["claimRef"]["name"], "namespace": pod["metadata"]["namespace"]}
    assert volume["spec"]["claimRef"]["namespace"] == pod["metadata"]["namespace"]
    assert volume["spec"]["hostPath"]["path"] == pod["spec"]["containers"][0]["volumeMounts"][0]["mountPath"]
