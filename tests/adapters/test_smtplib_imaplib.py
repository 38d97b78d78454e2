"""smtplib and imaplib in a namespace, with real servers."""

from __future__ import annotations

import imaplib
import smtplib
import socket
import ssl
from collections.abc import Callable

import pytest

from nsbroker.adapters.imaplib import IMAP4, IMAP4_SSL
from nsbroker.adapters.smtplib import SMTP, SMTP_SSL
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
from support.adapters.mail_servers import IMAP_PORT, IMAPS_PORT, PASSWORD, SMTP_PORT, SMTPS_PORT, USER

MAIL = "mail.example.org"


pytestmark = pytest.mark.usefixtures("mail")


def smtp(namespace: str, host: str = MAIL, port: int = SMTP_PORT, timeout: float = 20) -> bytes:
    with SMTP(namespace, host, port, timeout=timeout) as server:
        server.ehlo()
        return server.noop()[1]


def smtp_tls(namespace: str, host: str = MAIL, timeout: float = 20) -> bytes:
    context = ssl.create_default_context()
    with SMTP_SSL(namespace, host, SMTPS_PORT, timeout=timeout, context=context) as server:
        server.ehlo()
        return server.noop()[1]


def smtp_starttls(namespace: str, host: str = MAIL) -> bytes:
    with SMTP(namespace, host, timeout=20) as server:
        server.starttls(context=ssl.create_default_context())
        server.ehlo()
        return server.noop()[1]


def imap(namespace: str, host: str = MAIL, port: int = IMAP_PORT, timeout: float = 20) -> bytes:
    with IMAP4(namespace, host, port, timeout=timeout) as server:
        return imap_peer(server)


def imap_tls(namespace: str, host: str = MAIL) -> bytes:
    with IMAP4_SSL(namespace, host, IMAPS_PORT, ssl_context=ssl.create_default_context(), timeout=20) as server:
        return imap_peer(server)


def imap_peer(server: imaplib.IMAP4) -> bytes:
    server.login(USER, PASSWORD)
    capabilities = server.capability()[1][0].split()
    return next(word.partition(b"=")[2] for word in capabilities if word.startswith(b"X-PEER="))


@pytest.mark.parametrize("client", [smtp, smtp_tls, smtp_starttls])
def test_smtp_comes_from_the_namespace(site: ExampleOrg, client: Callable[..., bytes]) -> None:
    """It also uses its address there as its name, without a look-up."""
    assert site.run(client) == f"{CLIENT} is [{CLIENT}]".encode()


@pytest.mark.parametrize("client", [imap, imap_tls])
def test_imap_comes_from_the_namespace(site: ExampleOrg, client: Callable[..., bytes]) -> None:
    assert site.run(client) == CLIENT.encode()


def smtp_with_a_name(namespace: str) -> bytes:
    with SMTP(namespace, MAIL, local_hostname="client.example.net", timeout=20) as server:
        server.ehlo()
        return server.noop()[1]


def test_smtp_client_gives_the_name_it_was_given(site: ExampleOrg) -> None:
    assert site.run(smtp_with_a_name) == f"{CLIENT} is client.example.net".encode()


def smtp_twice(namespace: str) -> list[bytes]:
    server = SMTP(namespace, timeout=20)
    answers = []
    for _ in range(2):
        server.connect(MAIL, SMTP_PORT)
        server.ehlo()
        answers.append(server.noop()[1])
        server.quit()
    return answers


def test_smtp_client_connects_again_inside(site: ExampleOrg) -> None:
    """Also when it was made without a host."""
    assert site.run(smtp_twice) == [f"{CLIENT} is [{CLIENT}]".encode()] * 2


def fail(namespace: str, client: Callable[..., object], error: type[OSError], *args: object) -> None:
    with pytest.raises(error):
        client(namespace, *args)


@pytest.mark.parametrize("client", [smtp_tls, smtp_starttls, imap_tls])
def test_wrong_certificate_is_refused(site: ExampleOrg, client: Callable[..., bytes]) -> None:
    site.run(fail, client, ssl.SSLCertVerificationError, UNTRUSTED)


@pytest.mark.parametrize(("client", "no_greeting"), [(smtp, smtplib.SMTPServerDisconnected), (imap, TimeoutError)])
def test_errors_are_the_usual_ones(site: ExampleOrg, client: Callable[..., bytes], no_greeting: type[OSError]) -> None:
    """The errors are the usual ones for an unknown name, a closed port and a silent server."""
    site.run(fail, client, socket.gaierror, UNKNOWN)
    site.run(fail, client, ConnectionRefusedError, HOST, CLOSED_PORT)
    site.run(fail, client, TimeoutError, UNREACHABLE, 25, 0.2)
    site.run(fail, client, no_greeting, HOST, SILENT_PORT, 0.2)


def fail_to_greet(namespace: str) -> None:
    with pytest.raises(smtplib.SMTPServerDisconnected):
        SMTP(namespace).noop()


def test_smtp_client_without_a_connection_says_so(site: ExampleOrg) -> None:
    site.run(fail_to_greet)
