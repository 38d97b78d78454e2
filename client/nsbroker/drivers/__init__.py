"""The client of the broker for event loops: `asyncio.AsyncClient`, `trio.AsyncClient` and `anyio.AsyncClient`.

Each of these files knows how its framework waits, and nothing else: what is asked of the broker, and how, is the
client's that threads use, as steps (see `..waiting`).
"""
