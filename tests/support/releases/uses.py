"""Uses a broker in every way of the protocol, as a program of its own, with any version of the library.

    python uses.py SOCKET BLUE RED LATE

BLUE and RED are namespaces, and LATE is one that another process makes once this program says "waiting". The last line
of output is JSON: the results of all uses. This file imports nothing of the tests, and uses only the library's public
interface as it was in the first release.
"""

from __future__ import annotations

import errno
import json
import socket
import sys

import nsbroker
from nsbroker import Client, SocketSpec

TCP = (int(socket.AF_INET), int(socket.SOCK_STREAM))
UDP = (int(socket.AF_INET), int(socket.SOCK_DGRAM))
SO_NETNS_COOKIE = 71


def netns_cookie(sock: socket.socket) -> int:
    """Return the cookie of a socket's namespace."""
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), sys.byteorder)


def main(path: str, blue: str, red: str, late: str) -> None:
    """Print the results."""
    results: dict[str, object] = {}
    client = Client(path)

    (sock,) = client.open([SocketSpec(blue, *TCP)])
    results["open"] = netns_cookie(sock)
    sock.close()

    (low,) = client.open([SocketSpec(blue, *TCP, bind=("127.0.0.1", 80), listen=5)])
    results["low port"] = low.getsockname()[1]
    try:
        client.open([SocketSpec(blue, *UDP), SocketSpec(blue, *TCP, bind=("127.0.0.1", 80))])
    except OSError as error:
        results["kernel's error"] = [error.errno == errno.EADDRINUSE, vars(error)["index"]]
    low.close()

    specs = [SocketSpec((blue, red, "@host")[number % 3], *(UDP, TCP)[number % 2]) for number in range(600)]
    batch = client.open(specs)
    results["batch"] = [len(batch), [sock.type == spec[2] for sock, spec in zip(batch, specs, strict=True)].count(True)]
    results["namespaces of a batch"] = [netns_cookie(sock) for sock in batch[:6]]
    for sock in batch:
        sock.close()

    (sock,) = client.open([SocketSpec(f"/run/netns/{red}", *TCP)])
    results["sent descriptor"] = netns_cookie(sock)
    sock.close()

    print("waiting", flush=True)
    (sock,) = client.open([SocketSpec(late, *TCP)], wait=60)
    results["waiting"] = netns_cookie(sock)
    sock.close()

    for what, spec in {
        "missing": SocketSpec(f"{blue}-missing", *TCP),
        "denied": SocketSpec(blue, int(socket.AF_INET), int(socket.SOCK_RAW), 1),
    }.items():
        try:
            client.open([spec])
        except nsbroker.Error as error:
            results[what] = [type(error).__name__, error.index]

    answer = client.namespaces()
    results["list"] = sorted({name for name, _ in answer.namespaces} & {blue, red, "@host"}) == sorted(
        [blue, red, "@host"]
    )
    results["kinds"] = answer.grants[0].sockets
    results["resolver"] = client.resolver_files(blue).origin
    results["name"] = nsbroker.Namespace(blue, path=path).gethostbyname("localhost")

    still_there = 0
    for _ in range(20):
        (second,) = client.open([SocketSpec(blue, *UDP)])
        (first,) = client.open([SocketSpec(blue, *UDP, bind=("127.0.0.1", 0))])
        address = first.getsockname()
        first.close()
        try:
            second.bind(address)
        except OSError:
            still_there += 1
        second.close()
    results["left after close"] = still_there

    client.close()
    print(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
