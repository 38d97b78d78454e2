"""Has every event loop made by `loop_factory`, and every socket of the tests themselves by `patch`."""

import os

import nsbroker

NAMESPACE = os.environ["OUTSIDE_NAMESPACE"]
nsbroker.patch(NAMESPACE)

import asyncio  # noqa: E402  # patch comes first

from nsbroker.adapters.asyncio import loop_factory  # noqa: E402

original = asyncio.SelectorEventLoop


def make_loop(selector=None):
    """Make a loop as `asyncio.SelectorEventLoop` does."""

    class Loop(original):
        def __init__(self):
            super().__init__(selector)

    return loop_factory(NAMESPACE, Loop)()


asyncio.SelectorEventLoop = asyncio.unix_events.SelectorEventLoop = make_loop
asyncio.DefaultEventLoopPolicy._loop_factory = staticmethod(make_loop)
