"""The programs of deploy/quickstart: web servers in three namespaces, in one thread, by a user without any rights.

web.py all PORT NS...     listens in each namespace and answers, asks each from inside it, and shows a refusal
web.py answer [COUNT]     answers on the sockets that it inherits (LISTEN_FDS), from `nsbroker-get NS listen`
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
import threading

import nsbroker


def say(text: str) -> None:
    """Print one line at once."""
    print(f"    {text}", flush=True)


def answer(namespace: str) -> bytes:
    """Return the reply of a namespace's server."""
    body = f"this is the server in {namespace}\n"
    return f"HTTP/1.0 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


async def serve(listener: socket.socket, namespace: str) -> asyncio.Server:
    """Answer every request that comes to this listener."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(namespace))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    return await asyncio.start_server(respond, sock=listener)


async def fetch(namespace: str, port: int) -> str:
    """Ask the server on this port of the namespace's own loopback, from inside the namespace."""
    connection = nsbroker.Namespace(namespace).create_connection(("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=connection)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    reply = await reader.read()
    writer.close()
    await writer.wait_closed()
    return reply.partition(b"\r\n\r\n")[2].decode().strip()


async def run_all(port: int, namespaces: list[str]) -> None:
    """Serve in all namespaces and ask all of them, in this one thread."""
    say(f"I am uid {os.getuid()} with {threading.active_count()} thread and the capabilities {capabilities()}.")
    listeners = nsbroker.create_servers([(namespace, ("", port)) for namespace in namespaces])
    say(f"One request to the broker, and I listen on TCP {port} in {len(listeners)} namespaces:")
    for listener, namespace in zip(listeners, namespaces, strict=True):
        say(f"  {namespace:20} {':'.join(map(str, listener.getsockname()))}  namespace cookie {cookie_of(listener)}")
    servers = [await serve(*pair) for pair in zip(listeners, namespaces, strict=True)]
    for namespace in namespaces:
        say(f"GET http://127.0.0.1:{port}/ in {namespace:20} -> {await fetch(namespace, port)}")
    expect_refusals(namespaces[-1])
    say(f"Threads at the end: {threading.active_count()}.")
    for server in servers:
        server.close()
        await server.wait_closed()


def expect_refusals(namespace: str) -> None:
    """Ask for a port that no grant allows, and for a socket that the kernel does not allow."""
    try:
        nsbroker.Namespace(namespace).create_server(("", 81)).close()
    except nsbroker.AccessDeniedError as error:
        say(f"Port 81 in {namespace}: AccessDeniedError, {error.strerror}")
    else:
        raise SystemExit("port 81 was not refused")
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    except PermissionError:
        say("A packet socket by myself: PermissionError. I have no rights of my own.")


def capabilities() -> str:
    """Return the effective capabilities of this process, as the kernel writes them."""
    with open("/proc/self/status") as status:
        return next(line.split()[1] for line in status if line.startswith("CapEff"))


def cookie_of(sock: socket.socket) -> int:
    """Return SO_NETNS_COOKIE of a socket, or 0 on a kernel without it: the number of its namespace."""
    try:
        return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, 71, 8), sys.byteorder)
    except OSError as error:
        if error.errno == errno.ENOPROTOOPT:
            return 0
        raise


def answer_inherited(count: int) -> None:
    """Answer `count` requests on the first inherited socket, then return."""
    name = os.environ["LISTEN_FDNAMES"].partition(":")[0]
    with socket.socket(fileno=3) as listener:
        for _ in range(count):
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer(name))


def main(verb: str, *rest: str) -> None:
    """Run one of the programs."""
    if verb == "all":
        asyncio.run(run_all(int(rest[0]), list(rest[1:])))
    else:
        answer_inherited(int(rest[0]) if rest else 10**9)


if __name__ == "__main__":
    main(*sys.argv[1:])
