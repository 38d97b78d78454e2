"""Starts the containers of a pod's YAML by the CRI, with the settings that a kubelet takes from it.

The image has no Python, so the containers get that of the test, with its libraries, from the host.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from nsbrokerd.namespaces.engines import protobuf
from support.checkout import CHECKOUT

from .containerd import Containerd

_HOST_TO_CONTAINER = 1
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache")


class Kubelet:
    """The part of a kubelet that turns a pod into calls of the CRI."""

    def __init__(self, containerd: Containerd, directory: Path, places: dict[str, Path]) -> None:
        """Use a directory for files.

        Args:
            containerd: the runtime.
            directory: an empty directory.
            places: a path for each path of the host in the YAML, and for each claim. Others stay as they are.
        """
        self._containerd = containerd
        self._config_map = directory / "config-map"
        self._places = places
        self._logs: dict[str, Path] = {}

    def write_config_map(self, texts: dict[str, str]) -> None:
        """Write the files of a ConfigMap. As a kubelet makes it, each user may write to the directory."""
        self._config_map.mkdir()
        self._config_map.chmod(0o777)
        for name, text in texts.items():
            (self._config_map / name).write_text(text)
            (self._config_map / name).chmod(0o444)

    def start(self, pod: str, spec: dict[str, Any]) -> str:
        """Start a pod NAMESPACE.NAME with its one container, and return the id of the container."""
        sandbox_id = self._containerd.run_pod(pod, host_network=spec.get("hostNetwork", False))
        self._logs[pod] = self._containerd.logs / f"{sandbox_id}.log"
        (container,) = spec["containers"]
        words = [protobuf.text(3, word) for word in container["command"]]
        words += [protobuf.text(4, word) for word in container.get("args", ())]
        path = protobuf.message(6, protobuf.text(1, "PATH"), protobuf.text(2, f"{sys.prefix}/bin:/usr/bin:/bin"))
        context = {**spec.get("securityContext", {}), **container["securityContext"]}
        config = [
            protobuf.message(1, protobuf.text(1, container["name"])),
            *words,
            path,
            *self._mounts(spec["volumes"], container["volumeMounts"]),
            protobuf.text(11, f"{sandbox_id}.log"),
            protobuf.message(15, _security(context, is_on_host=spec.get("hostNetwork", False))),
        ]
        return self._containerd.start_container(sandbox_id, b"".join(config))

    def log(self, pod: str) -> str:
        """Return all that the pod's container printed."""
        lines = self._logs[pod].read_text().splitlines()
        return "\n".join(line.split(" ", 3)[3] for line in lines)

    def _mounts(self, volumes: list[dict[str, Any]], mounts: list[dict[str, Any]]) -> list[bytes]:
        sources = {volume["name"]: self._source(volume) for volume in volumes}
        made = []
        for mount in mounts:
            source = sources[mount["name"]] / mount.get("subPath", "")
            propagation = _HOST_TO_CONTAINER if mount.get("mountPropagation") == "HostToContainer" else 0
            made.append(_mount(mount["mountPath"], source, mount.get("readOnly", False), propagation))
        own = {*_SYSTEM, str(CHECKOUT), sys.prefix, *(path for path in sys.path if Path(path).is_dir())}
        return made + [_mount(path, Path(path), True, 0) for path in sorted(own) if not path.startswith("/usr/")]

    def _source(self, volume: dict[str, Any]) -> Path:
        if "configMap" in volume:
            return self._config_map
        if "persistentVolumeClaim" in volume:
            return self._places[volume["persistentVolumeClaim"]["claimName"]]
        path: str = volume["hostPath"]["path"]
        return self._places.get(path, Path(path))


def _mount(inside: str, source: Path, is_read_only: bool, propagation: int) -> bytes:
    parts = [protobuf.text(1, inside), protobuf.text(2, str(source)), protobuf.number(3, is_read_only)]
    return protobuf.message(7, *parts, protobuf.number(5, propagation))


def _security(context: dict[str, Any], *, is_on_host: bool) -> bytes:
    """Encode LinuxContainerSecurityContext. RuntimeDefault is the profile for system calls with the number 0."""
    capabilities = [
        protobuf.text(field, name)
        for field, key in ((1, "add"), (2, "drop"))
        for name in context["capabilities"].get(key, ())
    ]
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    parts = [
        protobuf.message(1, *capabilities),
        protobuf.message(3, protobuf.number(1, 2 if is_on_host else 0)),
        protobuf.message(5, protobuf.number(1, context["runAsUser"])),
        protobuf.number(7, context["readOnlyRootFilesystem"]),
        *(protobuf.number(8, group) for group in context.get("supplementalGroups", ())),
        protobuf.number(11, not context["allowPrivilegeEscalation"]),
        protobuf.message(15, protobuf.number(1, 0)),
    ]
    if "runAsGroup" in context:
        parts.append(protobuf.message(12, protobuf.number(1, context["runAsGroup"])))
    return protobuf.message(2, *parts)
