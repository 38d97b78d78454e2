"""The examples in docstrings: lines that begin with `>>> `, as doctest has them, and `await` is allowed in them."""

from __future__ import annotations

import ast
import contextlib
import doctest
import importlib
import inspect
import io
from collections.abc import Awaitable, Callable
from types import CodeType, ModuleType
from typing import Any, NamedTuple

_CHECKER = doctest.OutputChecker()
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Case(NamedTuple):
    """The example of one docstring: `name` is where it stands, "" of the module itself."""

    module: str
    name: str
    statements: list[doctest.Example]

    def __str__(self) -> str:
        return f"{self.module}.{self.name}".rstrip(".")


def public(module: ModuleType) -> dict[str, Any]:
    """The classes and functions that a module, or its package, defines for users, and their public methods."""
    found = {}
    names = getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")])
    for name in names:
        value = getattr(module, name)
        if (inspect.isclass(value) or inspect.isfunction(value)) and _is_home(module, value.__module__):
            found[name] = value
            methods = vars(value) if inspect.isclass(value) else {}
            found |= {f"{name}.{each}": method for each, method in methods.items() if not each.startswith("_")}
    return found


def _is_home(module: ModuleType, home: str) -> bool:
    return home == module.__name__ or (hasattr(module, "__all__") and home.rpartition(".")[0] == module.__package__)


def examples(name: str) -> list[Case]:
    """The examples in the docstrings of a module, and of all that is public in it."""
    module = importlib.import_module(name)
    parser = doctest.DocTestParser()
    found = {"": module, **public(module)}
    cases = [Case(name, where, parser.get_examples(inspect.getdoc(value) or "")) for where, value in found.items()]
    return [case for case in cases if case.statements]


def run(
    case: Case,
    scope: dict[str, Any],
    replaced: dict[str, str],
    run_async: Callable[[Callable[[], Awaitable[None]]], object],
) -> None:
    """Run an example, and compare what it prints.

    Args:
        case: the example.
        scope: the names that its reader has, beside those of the module.
        replaced: what stands in other words in the example, such as the name of the namespace.
        run_async: calls an async function to its end; only for examples that await something.
    """
    scope = {**vars(importlib.import_module(case.module)), **scope}
    steps = [(_compile(str(case), each.source, replaced), _replace(each.want, replaced)) for each in case.statements]

    async def run_all() -> None:
        for code, want in steps:
            with _printing(want):
                result = eval(code, scope)
                if code.co_flags & inspect.CO_COROUTINE:
                    await result

    if any(code.co_flags & inspect.CO_COROUTINE for code, _ in steps):
        run_async(run_all)
        return
    for code, want in steps:
        with _printing(want):
            eval(code, scope)


def _replace(text: str, replaced: dict[str, str]) -> str:
    for old, new in replaced.items():
        text = text.replace(old, new)
    return text


def _compile(name: str, source: str, replaced: dict[str, str]) -> CodeType:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code: CodeType = compile(_replace(source, replaced), name, "single", flags=flags, dont_inherit=True)
    return code


@contextlib.contextmanager
def _printing(want: str) -> Any:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        yield
    assert _CHECKER.check_output(want, printed.getvalue(), _FLAGS), f"expected {want!r}, got {printed.getvalue()!r}"
