"""A program that carries out one use of a library at each target, and prints how each ended.

    python -P -m support.leaks.program WAY NAMESPACE USE HOST:PORT...

WAY is how the program gets into the namespace: "patch" and "loop" are those of nsbroker, "uvloop" is such a loop of
uvloop, an "adapter" is in the module `adapted`, and "run" is nothing that the program does itself.
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
    """Run an asynchronous use to its end, for the ways "loop" and "uvloop" in a loop of the namespace."""
    import asyncio

    from nsbroker.adapters.asyncio import loop_factory

    factory = None
    if way == "loop":
        factory = loop_factory(namespace)
    if way == "uvloop":
        import uvloop

        factory = loop_factory(namespace, uvloop.Loop)
    with asyncio.Runner(loop_factory=factory) as runner:

        async def use_in_time() -> object:
            async with asyncio.timeout(_DEADLINE_S):
                return await use(*arguments)  # type: ignore[operator]  # an async function

        return runner.run(use_in_time())


def messages(error: BaseException) -> list[str]:
    """Return the class and the message of an error and of its causes."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop(0)
        if each is not None and each not in found:
            found.append(each)
            waiting += [*getattr(each, "exceptions", ()), each.__cause__, each.__context__]
    return [f"{type(each).__name__}: {each}" for each in found]


if __name__ == "__main__":
    main(*sys.argv[1:])
