"""Has every event loop made by `loop_factory`, and every socket of the tests themselves by `patch`."""

import os

import nsbroker

nsbroker.patch(os.environ["OUTSIDE_NAMESPACE"])

import asyncio  # noqa: E402  # patch comes first

from nsbroker.adapters.asyncio import loop_factory  # noqa: E402

loop_class = loop_factory(os.environ["OUTSIDE_NAMESPACE"])
asyncio.SelectorEventLoop = asyncio.unix_events.SelectorEventLoop = loop_class
asyncio.DefaultEventLoopPolicy._loop_factory = loop_class
