"""Builds the setup for Kubernetes, as kustomize does: the part of its format that deploy/kubernetes uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from support.checkout import CHECKOUT

SETUP = CHECKOUT / "deploy" / "kubernetes"

Object = dict[str, Any]


def directories() -> list[Path]:
    """Return each directory with a kustomization."""
    return [path.parent for path in sorted(SETUP.rglob("kustomization.yaml"))]


def overlays() -> list[Path]:
    """Return each directory that an administrator can apply."""
    return [path for path in directories() if path.parent.name == "overlays"]


def files_of(directory: Path) -> list[Path]:
    """Return every file and directory that a kustomization names."""
    loaded = _kustomization(directory)
    generated = [file for generator in loaded.get("configMapGenerator", ()) for file in generator["files"]]
    patches = [patch["path"] for patch in loaded.get("patches", ())]
    others = [*loaded.get("resources", ()), *loaded.get("components", ())]
    return [directory / name for name in (*others, *generated, *patches)]


def build(directory: Path, components: tuple[str, ...] = ()) -> tuple[list[Object], dict[str, str]]:
    """Return the objects of a kustomization, and the files of its ConfigMap.

    Args:
        directory: the kustomization's.
        components: names of further components.
    """
    loaded = _kustomization(directory)
    objects: list[Object] = []
    texts: dict[str, str] = {}
    for name in loaded.get("resources", ()):
        if (directory / name).is_dir():
            inner, inner_texts = build(directory / name)
            objects += inner
            texts |= inner_texts
        else:
            objects += _load(directory / name)
    patches = [directory / patch["path"] for patch in loaded.get("patches", ())]
    for component in components:
        root = SETUP / "components" / component
        patches += [root / patch["path"] for patch in _kustomization(root)["patches"]]
    for path in patches:
        (patch,) = _load(path)
        (index,) = [index for index, found in enumerate(objects) if _name(found) == _name(patch)]
        objects[index] = _merge(objects[index], patch)
    for generator in loaded.get("configMapGenerator", ()):
        texts |= {file: (directory / file).read_text() for file in generator["files"]}
    return objects, texts


def daemon_set(objects: list[Object]) -> Object:
    """Return the one DaemonSet."""
    (found,) = [found for found in objects if found["kind"] == "DaemonSet"]
    return found


def broker_of(objects: list[Object]) -> Object:
    """Return the broker's container."""
    container: Object
    (container,) = daemon_set(objects)["spec"]["template"]["spec"]["containers"]
    return container


def _load(path: Path) -> list[Object]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def _kustomization(directory: Path) -> Object:
    (loaded,) = _load(directory / "kustomization.yaml")
    return loaded


def _name(found: Object) -> tuple[str, str]:
    return found["kind"], found["metadata"]["name"]


def _merge(old: Any, new: Any) -> Any:
    """Merge a patch as Kubernetes does: lists of objects by the name, or by the mount's path."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{key: _merge(old.get(key), value) for key, value in new.items()}}
    if isinstance(old, list) and isinstance(new, list) and all(isinstance(item, dict) for item in (*old, *new)):
        merged = {_key(item): item for item in old}
        for item in new:
            merged[_key(item)] = _merge(merged.get(_key(item)), item)
        return list(merged.values())
    return new


def _key(item: Object) -> str:
    key: str = item["mountPath"] if "mountPath" in item else item["name"]
    return key
