"""Sockets of the namespace for the servers of a suite, and for its clients that the adapter does not cover.

A prelude calls `stand_in` for the modules that it has imported, and has `InTests` in `PLUGINS` for the test modules.
"""

import os
import socket as original
import sys
import types

from nsbroker import Namespace

NAMESPACE = os.environ["OUTSIDE_NAMESPACE"]
PLACE = Namespace(NAMESPACE)


class _AnySocket(type):
    def __instancecheck__(cls, instance):
        return isinstance(instance, original.socket)


class socket(PLACE.socket, metaclass=_AnySocket):  # noqa: N801  # the name in the socket module
    """A socket of the namespace, or an ordinary Unix socket. When it has an address, it is plain, as trio wants it."""

    __slots__ = ()

    def __new__(cls, family=-1, type=-1, proto=-1, fileno=None):  # noqa: A002  # the socket module's own name
        if cls is socket and (fileno is not None or family == original.AF_UNIX):
            return original.socket(family, type, proto, fileno)
        return super().__new__(cls)

    def bind(self, address):
        super().bind(address)
        self.__class__ = original.socket

    def connect(self, address):
        super().connect(address)
        self.__class__ = original.socket


module = types.ModuleType("socket")
module.__dict__.update(vars(original))
module.socket = module.SocketType = socket
for _name in ("create_connection", "create_server", "getaddrinfo"):
    setattr(module, _name, getattr(PLACE, _name))
_REPLACED = {
    id(getattr(original, name)): value
    for name, value in vars(module).items()
    if hasattr(original, name) and value is not getattr(original, name)
} | {id(original): module}


def stand_in(*modules):
    """Let modules make their sockets in the namespace, whether they imported the socket module or names from it."""
    for each in modules:
        for name, value in list(vars(each).items()):
            if id(value) in _REPLACED:
                setattr(each, name, _REPLACED[id(value)])


class InTests:
    """A plugin of pytest that calls `stand_in` for the modules of the tests when it has imported them."""

    def __init__(self, *prefixes):
        self._prefixes = prefixes

    def pytest_collection_modifyitems(self, items):
        stand_in(*(each for name, each in list(sys.modules.items()) if name.startswith(self._prefixes)))
