"""Drivers of the package's `async def` code: a blocking thread, asyncio, trio and anyio. Imports place, link and wire.

Each file knows only how its framework waits (see `nsbroker.link.waiting`).
"""
