"""Small servers for the recipes: an Elasticsearch, a push gateway, a PostgreSQL, and a router with SSH.

Each serves one use of its client, and tells the client its address or fails.
"""

from __future__ import annotations

import asyncio
import json
import socketserver
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import asyncssh

ELASTICSEARCH_PORT, PUSH_PORT = 9200, 9091
POSTGRES_PORT = 5432
ROUTER_PORT = 2222

_START, _NO_TLS = 196608, 80877103
"""The codes of the first packet. Source: "Message Formats" in the documentation of PostgreSQL."""
_INET = 869


class _HttpHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """The information of Elasticsearch."""
        self._answer(200, json.dumps({"version": {"number": "9.0.0"}, "tagline": "You Know, for Search"}))

    def do_PUT(self) -> None:
        """The push gateway."""
        pushed = self.rfile.read(int(self.headers["Content-Length"]))
        right = self.path == "/metrics/job/backup" and b"\nbackup_end_seconds " in pushed
        self._answer(200 if right else 400, "")

    def _answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.elasticsearch+json; compatible-with=9")
        self.send_header("X-Elastic-Product", "Elasticsearch")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


def serve_http() -> None:
    push = ThreadingHTTPServer(("0.0.0.0", PUSH_PORT), _HttpHandler)
    threading.Thread(target=push.serve_forever).start()
    ThreadingHTTPServer(("0.0.0.0", ELASTICSEARCH_PORT), _HttpHandler).serve_forever()


class _PostgresHandler(socketserver.StreamRequestHandler):
    """Answers each SELECT with the address of the client."""

    def handle(self) -> None:
        if self._start() != _START:
            self.wfile.write(b"N")
            assert self._start() == _START
        self._send(b"R", struct.pack("!i", 0))
        for name, value in (("server_version", "15.0"), ("client_encoding", "UTF8")):
            self._send(b"S", f"{name}\0{value}\0".encode())
        self._send(b"Z", b"I")
        query = b""
        while kind := self.rfile.read(1):
            body = self._read_body()
            if kind == b"Q":
                query = body
                self._describe(query)
                self._execute(query)
            elif kind == b"P":
                query = body.split(b"\0")[1]
                self._send(b"1")
            elif kind == b"B":
                self._send(b"2")
            elif kind == b"D":
                self._describe(query)
            elif kind == b"E":
                self._execute(query)
            if kind in (b"Q", b"S"):
                self._send(b"Z", b"I")

    def _start(self) -> int:
        return int(struct.unpack_from("!i", self._read_body())[0])

    def _read_body(self) -> bytes:
        return self.rfile.read(struct.unpack("!i", self.rfile.read(4))[0] - 4)

    def _describe(self, query: bytes) -> None:
        if query.startswith(b"SELECT"):
            column = b"inet_client_addr\0" + struct.pack("!ihihih", 0, 0, _INET, -1, -1, 0)
            self._send(b"T", struct.pack("!h", 1) + column)

    def _execute(self, query: bytes) -> None:
        if query.startswith(b"SELECT"):
            value = str(self.client_address[0]).encode()
            self._send(b"D", struct.pack("!hi", 1, len(value)) + value)
        self._send(b"C", query.rstrip(b"\0").split()[0] + b" 1\0")

    def _send(self, kind: bytes, body: bytes = b"") -> None:
        self.wfile.write(kind + struct.pack("!i", len(body) + 4) + body)


class _ThreadingServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def serve_postgres() -> None:
    _ThreadingServer(("0.0.0.0", POSTGRES_PORT), _PostgresHandler).serve_forever()


class _Router(asyncssh.SSHServer):
    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == ("admin", "secret")


async def _talk(process: asyncssh.SSHServerProcess[str]) -> None:
    """A shell with one command, which says where the connection comes from."""
    process.stdout.write("router$ ")
    async for line in process.stdin:
        if line.strip() == "show clients":
            process.stdout.write(f"{process.get_extra_info('peername')[0]}\n")
        process.stdout.write("router$ ")
    process.exit(0)


def serve_router() -> None:
    async def serve() -> None:
        key = asyncssh.generate_private_key("ssh-ed25519")
        how = {"server_factory": _Router, "server_host_keys": [key], "process_factory": _talk}
        server = await asyncssh.listen("0.0.0.0", ROUTER_PORT, **how)
        await server.wait_closed()

    asyncio.run(serve())
