"""ftplib in a namespace, with a real server that takes data connections from the client's own address alone."""

from __future__ import annotations

import ftplib
import io
import socket
import ssl

import pytest

from nsbroker.adapters.ftplib import FTP, FTP_TLS
from support.adapters import ftp_server
from support.adapters.example_org import (
    CLIENT,
    CLOSED_PORT,
    HOST,
    SILENT_PORT,
    UNKNOWN,
    UNREACHABLE,
    UNTRUSTED,
    ExampleOrg,
)

FTP_HOST = "ftp.example.org"


pytestmark = pytest.mark.usefixtures("ftp")


def store_and_fetch(ftp: ftplib.FTP, passive: bool) -> bytes:
    ftp.set_pasv(passive)
    ftp.storbinary("STOR file", io.BytesIO(b"0123456789"))
    parts: list[bytes] = []
    ftp.retrbinary("RETR file", parts.append, rest=4)
    assert ftp.nlst() == ["file"]
    return b"".join(parts)


def plain(namespace: str, passive: bool) -> tuple[str, bytes]:
    with FTP(namespace, FTP_HOST, timeout=20) as ftp:
        ftp.login()
        return ftp.voidcmd("NOOP"), store_and_fetch(ftp, passive)


def secure(namespace: str, passive: bool, host: str = FTP_HOST) -> tuple[str, bytes]:
    with FTP_TLS(namespace, context=ssl.create_default_context(), timeout=20) as ftp:
        ftp.connect(host, ftp_server.TLS_PORT)
        ftp.login()
        ftp.prot_p()
        return ftp.voidcmd("NOOP"), store_and_fetch(ftp, passive)


@pytest.mark.parametrize("passive", [True, False], ids=["passive", "active"])
def test_control_and_data_connections_are_inside(site: ExampleOrg, passive: bool) -> None:
    """The client makes both connections in passive mode, and the server the second one in active mode."""
    assert site.run(plain, passive) == (f"200 {CLIENT}", b"456789")


@pytest.mark.parametrize("passive", [True, False], ids=["passive", "active"])
def test_tls_is_for_both_connections(site: ExampleOrg, passive: bool) -> None:
    assert site.run(secure, passive) == (f"200 {CLIENT}", b"456789")


def fail(namespace: str, error: type[OSError], host: str, port: int, timeout: float) -> None:
    with pytest.raises(error):
        FTP(namespace, timeout=timeout).connect(host, port)


def fail_to_verify(namespace: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        secure(namespace, True, UNTRUSTED)


def fail_to_fetch(namespace: str, passive: bool) -> None:
    with FTP(namespace, FTP_HOST, timeout=20) as ftp:
        ftp.login()
        ftp.set_pasv(passive)
        with pytest.raises(ftplib.error_perm, match="550"):
            ftp.retrbinary("RETR nothing", print)


def test_errors_are_the_usual_ones(site: ExampleOrg) -> None:
    """The errors are the usual ones for an unknown name, a closed port and a silent server."""
    site.run(fail, socket.gaierror, UNKNOWN, 21, 20)
    site.run(fail, ConnectionRefusedError, HOST, CLOSED_PORT, 20)
    site.run(fail, TimeoutError, UNREACHABLE, 21, 0.2)
    site.run(fail, TimeoutError, HOST, SILENT_PORT, 0.2)
    site.run(fail_to_verify)


@pytest.mark.parametrize("passive", [True, False], ids=["passive", "active"])
def test_failed_transfer_is_the_usual_error(site: ExampleOrg, passive: bool) -> None:
    site.run(fail_to_fetch, passive)
