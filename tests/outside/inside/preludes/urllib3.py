"""Has every pool of urllib3 make its connections in the namespace. The servers listen there."""

import os
import sys

import hypercorn.config
import servers
import trio_runs  # noqa: F401  # The proxy of the tests connects by trio.
import urllib3
import urllib3.connection
import urllib3.http2.connection
import urllib3.poolmanager

from nsbroker.adapters.urllib3 import pool_classes

sys.path.insert(0, os.getcwd())
import dummyserver.socketserver  # a module of the tests

servers.stand_in(hypercorn.config, dummyserver.socketserver)
# Whether localhost has an address of IPv6, the tests ask when they are imported: inside, not in the hosts file outside.
dummyserver.socketserver.HAS_IPV6 = dummyserver.socketserver._has_ipv6("::1")
dummyserver.socketserver.HAS_IPV6_AND_DNS = dummyserver.socketserver._has_ipv6("localhost")
PLUGINS = [servers.InTests("test", "dummyserver")]

inside = pool_classes(servers.NAMESPACE)
for scheme, pools in (("http", urllib3.HTTPConnectionPool), ("https", urllib3.HTTPSConnectionPool)):
    pools.ConnectionCls = inside[scheme].ConnectionCls
urllib3.poolmanager.pool_classes_by_scheme.update(inside)


class HTTP2Connection(urllib3.http2.connection.HTTP2Connection, inside["https"].ConnectionCls):
    """What `urllib3.http2.inject_into_urllib3` puts into the pools, until `extract_from_urllib3`."""


urllib3.http2.connection.HTTP2Connection = HTTP2Connection
urllib3.connection.HTTPConnection = inside["http"].ConnectionCls
urllib3.connection.HTTPSConnection = urllib3.connection.VerifiedHTTPSConnection = inside["https"].ConnectionCls
