"""Has every session of requests use the adapter. The servers listen in the namespace."""

import socketserver

import requests
import servers

from nsbroker.adapters import requests as inside

servers.stand_in(socketserver)
PLUGINS = [servers.InTests("tests.")]


class HTTPAdapter(inside.HTTPAdapter):
    """Takes the arguments of the class of requests."""

    def __init__(self, *args, **kwargs):
        super().__init__(servers.NAMESPACE, *args, **kwargs)


HTTPAdapter.__module__ = "requests.adapters"  # pickle finds it there.
requests.adapters.HTTPAdapter = requests.sessions.HTTPAdapter = HTTPAdapter
