"""`nsbroker-get NS proxy`: a SOCKS5 and HTTP proxy whose connections are sockets of a namespace.

It imports drivers, place, names and link. `socks` and `http` are sans-IO: bytes in, bytes out.
"""
