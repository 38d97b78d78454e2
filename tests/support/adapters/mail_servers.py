"""A mail server: aiosmtpd for SMTP, Twisted's for IMAP. It answers NOOP with the client's address."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, NoReturn

from aiosmtpd.smtp import SMTP
from twisted.cred import checkers, portal
from twisted.internet import ssl as twisted_ssl
from twisted.internet.protocol import Factory
from twisted.mail import imap4
from zope.interface import implementer

SMTP_PORT, SMTPS_PORT = 25, 465
IMAP_PORT, IMAPS_PORT = 143, 993
SMTP_PORTS, IMAP_PORTS = (SMTP_PORT, SMTPS_PORT), (IMAP_PORT, IMAPS_PORT)
USER, PASSWORD = "someone", "secret"


class _Handler:
    async def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: str) -> str:  # noqa: N802
        return f"250 {session.peer[0]} is {session.host_name}"


def serve_smtp(certificate: str) -> None:
    """Serve SMTP, with STARTTLS, and over TLS, for ever."""
    asyncio.run(_serve_smtp(certificate))


async def _serve_smtp(certificate: str) -> NoReturn:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: SMTP(_Handler(), hostname="mail", tls_context=context), "0.0.0.0", SMTP_PORT)
    await loop.create_server(lambda: SMTP(_Handler(), hostname="mail"), "0.0.0.0", SMTPS_PORT, ssl=context)
    while True:
        await asyncio.Event().wait()


class _ImapServer(imap4.IMAP4Server):
    def capabilities(self) -> Any:
        # A standard command whose answer can carry our text, and that needs no mailbox.
        return {**super().capabilities(), b"X-PEER": [self.transport.getPeer().host.encode()]}


@implementer(portal.IRealm)
class _Realm:
    def requestAvatar(self, avatar: object, mind: object, *interfaces: object) -> Any:  # noqa: N802
        return imap4.IAccount, imap4.MemoryAccount(avatar), lambda: None


def serve_imap(certificate: str) -> None:
    """Serve IMAP, and over TLS, for ever."""
    from twisted.internet import reactor  # the children's own: it has an epoll descriptor

    loop: Any = reactor
    checker = checkers.InMemoryUsernamePasswordDatabaseDontUse(**{USER: PASSWORD.encode()})
    factory: Any = Factory.forProtocol(_ImapServer)
    place = portal.Portal(_Realm(), [checker])

    def build(addr: object) -> Any:
        protocol: Any = _ImapServer()
        protocol.portal = place
        protocol.factory = factory
        return protocol

    factory.buildProtocol = build
    loop.listenTCP(IMAP_PORT, factory)
    with open(certificate) as file:
        context = twisted_ssl.PrivateCertificate.loadPEM(file.read()).options()
    loop.listenSSL(IMAPS_PORT, factory, context)
    loop.run(installSignalHandlers=False)
