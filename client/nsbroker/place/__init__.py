"""A namespace through a broker, as `async def` code for every driver. Imports names, link and wire.

`place` has its sockets and names. `connecting`, `listening` and `datagrams` make sockets by name.
"""
