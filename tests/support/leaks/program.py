"""A program that carries out one use of a library at each target, and prints how each ended.

    python -P -m support.leaks.program WAY NAMESPACE USE HOST:PORT...

WAY is how the program gets into the namespace: "patch" and "loop" are those of nsbroker, an "adapter" is in the module
`adapted`, and "run" is nothing that the program does itself.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

_DEADLINE_S = 20
"""For each target. A use ends sooner, unless its library ignores its own timeouts."""


def main(way: str, namespace: str, name: str, *targets: str) -> None:
    """Print the outcomes as JSON."""
    if way == "patch":
        # Before all other imports, as the documents say.
        import nsbroker

        nsbroker.patch(namespace)
    outcomes = [outcome(way, namespace, name, *target.rsplit(":", 1)) for target in targets]
    print(json.dumps(outcomes), flush=True)
    # Some libraries have threads that never end.
    os._exit(0)


def outcome(way: str, namespace: str, name: str, host: str, port: str) -> list[str]:
    """Return the error's class and the messages of its causes, or "" and the answer."""
    import inspect
    import warnings

    warnings.simplefilter("ignore")
    try:
        module = importlib.import_module("support.leaks.adapted" if way == "adapter" else "support.leaks.uses")
        use = getattr(module, name)
        arguments = (*((namespace,) if way == "adapter" else ()), host, int(port))
        result = run(way, namespace, use, arguments) if inspect.iscoroutinefunction(use) else use(*arguments)
    except BaseException as error:
        return [type(error).__name__, " <- ".join(messages(error))]
    return ["", str(result or "")]


def run(way: str, namespace: str, use: object, arguments: tuple[object, ...]) -> object:
    """Run an asynchronous use to its end, for the way "loop" in a loop of the namespace."""
    import asyncio

    from nsbroker.adapters.asyncio import loop_factory

    with asyncio.Runner(loop_factory=loop_factory(namespace) if way == "loop" else None) as runner:

        async def use_in_time() -> object:
            async with asyncio.timeout(_DEADLINE_S):
                return await use(*arguments)  # type: ignore[operator]  # an async function

        return runner.run(use_in_time())


def messages(error: BaseException | None) -> list[str]:
    """Return the class and the message of an error and of its causes."""
    found: list[str] = []
    while error is not None and len(found) < 8:
        found.append(f"{type(error).__name__}: {error}")
        if isinstance(error, BaseExceptionGroup):
            found += [text for each in error.exceptions for text in messages(each)]
        error = error.__cause__ or error.__context__
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
