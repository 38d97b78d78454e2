"""The examples in the docstrings of `nsbroker` itself, run as they stand there, but for the namespace's name."""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest

import nsbroker
from support import docstring_examples
from support.adapters.example_org import ExampleOrg
from support.docstring_examples import Case

MODULES = (
    "nsbroker.guards.libraries",
    "nsbroker.drivers.anyio",
    "nsbroker.drivers.asyncio",
    "nsbroker.drivers.base",
    "nsbroker.drivers.thread",
    "nsbroker.drivers.trio",
    "nsbroker.link.errors",
    "nsbroker.module.lookups",
    "nsbroker.module.namespace",
    "nsbroker.module.servers",
    "nsbroker.wire.messages",
)
CASES = [case for name in MODULES for case in docstring_examples.examples(name)]
PACKAGE = [case for case in docstring_examples.examples("nsbroker") if not case.name]


def run_in_asyncio(function: Callable[[], Any]) -> None:
    asyncio.run(function())


def run_case(namespace: str, case: Case) -> None:
    docstring_examples.run(case, {}, {'"blue"': repr(namespace)}, run_in_asyncio)


@pytest.mark.usefixtures("web")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("case", [*PACKAGE, *CASES], ids=str)
def test_example_works(site: ExampleOrg, case: Case) -> None:
    site.run(run_case, case)


def test_package_has_an_example() -> None:
    assert len(PACKAGE) == 1


@pytest.mark.parametrize("name", sorted({*nsbroker.__all__} - {"patch", "PatchError"}))
def test_every_public_name_has_an_example(name: str) -> None:
    """Each class and function of the package, and each method for users."""
    value = getattr(nsbroker, name)
    shown = {case.name for case in CASES}
    assert name in shown
    methods = [each for each, method in inspect.getmembers(value, inspect.isfunction) if each in own_methods(value)]
    homes = [base.__name__ for base in value.__mro__] if inspect.isclass(value) else []
    assert [each for each in methods if not {f"{home}.{each}" for home in homes} & shown] == []


@pytest.mark.parametrize("framework", ["anyio", "asyncio", "trio"])
def test_every_method_of_an_async_client_has_an_example(framework: str) -> None:
    client = importlib.import_module(f"nsbroker.drivers.{framework}").AsyncClient
    shown = {f"{case.module}.{case.name}" for case in CASES}
    assert f"nsbroker.drivers.{framework}.AsyncClient" in shown
    assert {f"nsbroker.drivers.base.BaseAsyncClient.{each}" for each in own_methods(client)} <= shown


def own_methods(value: object) -> set[str]:
    """The public methods that this package defines for a class."""
    bases = [base for base in getattr(value, "__mro__", ()) if base.__module__.startswith("nsbroker.")]
    return {
        name for base in bases for name, member in vars(base).items() if inspect.isfunction(member) and name[0] != "_"
    }
