"""An FTP server: pyftpdlib. It takes data connections from the client's own address alone, and answers NOOP with it."""

from __future__ import annotations

import warnings
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # On Python 3.11 it is made of asyncore.
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
    from pyftpdlib.servers import FTPServer

PORT = 21
TLS_PORT = 2121
PORTS = (PORT, TLS_PORT)


def _noop(handler: Any, line: str) -> None:
    handler.respond(f"200 {handler.remote_ip}")


def serve(directory: str, certificate: str) -> None:
    """Serve a directory to everyone, on PORT, and with TLS on TLS_PORT, for ever."""
    authorizer = DummyAuthorizer()
    authorizer.add_anonymous(directory, perm="elrw")
    settings: dict[str, Any] = {"authorizer": authorizer, "ftp_NOOP": _noop, "permit_foreign_addresses": False}
    plain: Any = type("Plain", (FTPHandler,), settings)
    secure: Any = type("Secure", (TLS_FTPHandler,), {**settings, "certfile": certificate, "tls_data_required": True})
    server = FTPServer(("0.0.0.0", PORT), plain)
    FTPServer(("0.0.0.0", TLS_PORT), secure, ioloop=server.ioloop)
    server.serve_forever(handle_exit=False)
