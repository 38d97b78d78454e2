"""Has the functions of anyio act in the namespace. The servers and the other sockets of the tests are there, too."""

import functools

import anyio
import anyio._core._sockets
import servers

from nsbroker.adapters import anyio as inside

PLUGINS = [servers.InTests("tests.")]

for name in (
    "connect_tcp",
    "create_connected_udp_socket",
    "create_tcp_listener",
    "create_udp_socket",
    "getaddrinfo",
    "getnameinfo",
):
    function = functools.partial(getattr(inside, name), servers.NAMESPACE)
    setattr(anyio, name, function)
    setattr(anyio._core._sockets, name, function)
