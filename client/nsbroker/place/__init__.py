"""What the adapters for event loops do inside a namespace, written once, as steps (see `waiting`).

`place` opens sockets and looks up names; `connecting`, `serving` and `datagrams` make ready sockets by it. What a
framework then makes of a socket is the adapter's.
"""
