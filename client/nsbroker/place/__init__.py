"""A namespace through a broker, as `async def` code for every driver. Imports names, link and wire.

`place` opens its sockets and looks up its names. `connecting`, `listening` and `datagrams` also take host names.
"""
