"""The architecture holds: the rooms keep their order, pure modules stay pure, and one file does each dangerous thing.

All of it is read from the syntax trees, so an import within a function or for a type checker counts as well.
"""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOMS = {
    "nsbrokerd": (
        ("commands",),
        ("service", "setup"),
        ("config", "control", "serving"),
        ("requests",),
        ("sockets",),
        ("clients", "seal"),
        ("namespaces",),
        ("policy",),
    ),
    "nsbroker": (
        ("cli",),
        ("adapters", "patching", "proxy", "supervise"),
        ("guards", "module"),
        ("drivers",),
        ("place",),
        ("names",),
        ("link",),
        ("wire",),
    ),
}
"""For each package its floors, the highest first, and the rooms on each. A room imports only rooms of lower floors."""

MAX_FLOORS = 8

PURE = (
    "nsbroker.wire",
    "nsbroker.link.errors",
    "nsbroker.supervise.bpf",
    "nsbroker.supervise.calls",
    "nsbroker.supervise.filter",
    "nsbrokerd.clients.quotas",
    "nsbrokerd.clients.subordinate_ids",
    "nsbrokerd.control.packets",
    "nsbrokerd.policy",
    *(f"nsbrokerd.config.{name}" for name in ("grants", "lines", "parse", "table")),
    *(f"nsbrokerd.namespaces.engines.{name}" for name in ("cri_messages", "protobuf")),
    *(f"nsbrokerd.seal.{name}" for name in ("btf", "layout", "programs")),
)
"""Values in, values out: no clock, no file, no socket."""

PURE_IMPORTS = frozenset({
    "__future__", "array", "bisect", "collections", "collections.abc", "dataclasses", "difflib", "enum", "errno",
    "fnmatch",
    "functools", "hashlib", "ipaddress", "itertools", "json", "math", "msgpack", "operator", "re", "socket", "string",
    "struct", "sys", "tomllib", "typing",
})  # fmt: skip
PURE_SOCKET_FUNCTIONS = frozenset({"inet_pton", "inet_ntop", "htons", "ntohs"})
IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval", "compile", "__import__"})
SHARED = ("nsbroker.wire", "nsbroker.link.fdpass")
"""The modules of the client's package that the daemon uses."""


@cache
def sources(package: str) -> dict[str, Path]:
    """Every module of an installed package, and its file."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    root = Path(spec.submodule_search_locations[0])
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join((package, *(part for part in parts if part != "__init__")))] = path
    return found


ALL = {**sources("nsbroker"), **sources("nsbrokerd")}
CLIENT = sorted(sources("nsbroker"))
BROKER = sorted(sources("nsbrokerd"))


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(ALL[module].read_text())


def is_in(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def imports(module: str) -> Iterator[str]:
    """Every module that is imported anywhere in this one, relative names made absolute."""
    package = module if ALL[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1] + [base] * bool(base))
            for alias in node.names:
                # A name in a package is a module of it, or something of its __init__.
                yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in ALL else base


@cache
def own_imports(module: str) -> list[str]:
    """The modules of the same package that a module imports."""
    package = module.partition(".")[0]
    return [name for name in imports(module) if name in ALL and is_in(name, (package,))]


def room_of(module: str) -> str:
    """The room of a module; "" for the top of a package."""
    parts = module.split(".")
    return parts[1] if len(parts) > 2 or (ALL[module].name == "__init__.py" and len(parts) == 2) else ""


def find_cycle(start: str) -> list[str]:
    """A way along imports from a module back to it; an empty list if there is none."""
    ways = [[start]]
    seen = set()
    while ways:
        way = ways.pop()
        for name in own_imports(way[-1]):
            if name == start:
                return [*way, start]
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []


def names_used(module: str) -> set[str]:
    """Every identifier, attribute and imported name, and every string that is a single word."""
    used = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Name):
            used.add(node.id)
        elif isinstance(node, ast.Attribute):
            used.add(node.attr)
        elif isinstance(node, ast.alias):
            used.add(node.name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            used.add(node.value)
    return used


FRAMEWORKS = ("nsbroker.adapters", "nsbroker.drivers.anyio", "nsbroker.drivers.trio")
"""The modules that import a framework. Only users of the framework import them."""


@pytest.mark.parametrize("package", ROOMS)
def test_room_imports_only_rooms_of_lower_floors(package: str) -> None:
    floor_of = {room: floor for floor, rooms in enumerate(ROOMS[package]) for room in rooms}
    wrong = [
        f"{module} imports {name}"
        for module in sorted(sources(package))
        for name in own_imports(module)
        if room_of(module)
        and room_of(name) != room_of(module)
        and (not room_of(name) or floor_of[room_of(name)] <= floor_of[room_of(module)])
    ]
    assert wrong == []


@pytest.mark.parametrize("package", ROOMS)
def test_modules_import_each_other_in_no_cycle(package: str) -> None:
    assert [cycle for module in sorted(sources(package)) if (cycle := find_cycle(module))] == []


@pytest.mark.parametrize("package", ROOMS)
def test_folders_of_a_package_are_its_rooms_on_few_floors(package: str) -> None:
    rooms = [room for floor in ROOMS[package] for room in floor]
    assert sorted(rooms) == sorted({room_of(module) for module in sources(package)} - {""})
    assert len(ROOMS[package]) <= MAX_FLOORS


@pytest.mark.parametrize("package", ROOMS)
def test_only_init_and_main_are_at_the_top_of_a_package(package: str) -> None:
    root = ALL[package].parent
    assert {path.name for path in root.glob("*.py")} <= {"__init__.py", "__main__.py"}


@pytest.mark.parametrize(
    "room", [f"{package}.{room}" for package in ROOMS for floor in ROOMS[package] for room in floor]
)
def test_room_has_a_docstring(room: str) -> None:
    assert ALL[room].name == "__init__.py"
    assert ast.get_docstring(tree(room))


@pytest.mark.parametrize("module", [module for module in ALL if is_in(module, PURE)])
def test_pure_module_imports_pure_ones_alone(module: str) -> None:
    for name in imports(module):
        assert name in PURE_IMPORTS or is_in(name, PURE), f"{module} imports {name}"


@pytest.mark.parametrize("module", [module for module in ALL if is_in(module, PURE)])
def test_pure_module_does_no_input_or_output(module: str) -> None:
    """It uses only constants of the socket module, and the functions that turn addresses into bytes."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "socket":
            assert node.attr.isupper() or node.attr in PURE_SOCKET_FUNCTIONS, f"{module}: socket.{node.attr}"
        if isinstance(node, ast.ImportFrom) and node.module == "socket":
            assert all(alias.name.isupper() or alias.name in PURE_SOCKET_FUNCTIONS for alias in node.names)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in IMPURE_CALLS, f"{module}: {node.func.id}()"


def test_the_pure_layers_are_there() -> None:
    """A layer that was renamed must not slip out of these tests."""
    assert [layer for layer in PURE if not any(is_in(module, (layer,)) for module in ALL)] == []


def test_one_file_enters_namespaces() -> None:
    assert [module for module in ALL if "setns" in names_used(module)] == ["nsbrokerd.namespaces.netns"]


def test_one_file_of_each_side_touches_descriptors_in_packets() -> None:
    """No module uses the standard library's recv_fds, whose descriptors are inheritable."""
    assert [module for module in CLIENT if "SCM_RIGHTS" in names_used(module)] == ["nsbroker.link.fdpass"]
    assert len([module for module in BROKER if "SCM_RIGHTS" in names_used(module)]) <= 1
    assert [module for module in ALL if names_used(module) & {"send_fds", "recv_fds"}] == []


@pytest.mark.parametrize("module", CLIENT)
def test_client_never_imports_the_daemon(module: str) -> None:
    """The client does not import the daemon's libraries. Only an adapter imports its framework."""
    foreign = {"nsbrokerd"} if is_in(module, FRAMEWORKS) else {"nsbrokerd", "pyroute2", "trio"}
    assert {name.partition(".")[0] for name in imports(module)} & foreign == set()


@pytest.mark.parametrize("module", BROKER)
def test_daemon_takes_from_the_client_what_is_shared(module: str) -> None:
    taken = [name for name in imports(module) if is_in(name, ("nsbroker",))]
    assert [name for name in taken if not is_in(name, SHARED)] == []


def test_client_imports_where_the_daemon_needs_are_not_installed() -> None:
    """Every module of the package loads without trio, pyroute2 and structlog. Its import loads no other part."""
    modules = [module for module in CLIENT if not is_in(module, FRAMEWORKS) and "__main__" not in module]
    code = (
        "import importlib, sys\n"
        "for missing in ('trio', 'pyroute2', 'structlog', 'nsbrokerd'): sys.modules[missing] = None\n"
        "import nsbroker\n"
        "loaded = [name for name in sys.modules if name.startswith('nsbroker.')]\n"
        "assert loaded == [], loaded\n"
        f"for module in {modules!r}: importlib.import_module(module)\n"
    )
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    subprocess.run([sys.executable, "-B", "-c", code], env=environment, check=True)
