"""Has every connector of aiohttp use the adapter. The servers listen in the namespace."""

import asyncio.base_events

import aiohttp
import aiohttp.client
import aiohttp.test_utils
import servers

from nsbroker.adapters import aiohttp as inside

servers.stand_in(aiohttp.test_utils, asyncio.base_events)  # The loop makes servers. aiohttp connects without it.
PLUGINS = [servers.InTests("test_", "conftest")]


class TCPConnector(inside.TCPConnector):
    """Takes the arguments of aiohttp's class."""

    def __init__(self, **kwargs):
        super().__init__(servers.NAMESPACE, **kwargs)


aiohttp.TCPConnector = aiohttp.connector.TCPConnector = aiohttp.client.TCPConnector = TCPConnector
