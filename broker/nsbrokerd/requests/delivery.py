"""Gives a client the answer to its request: the sockets that were made, or the refusal, once it is in the audit."""

from __future__ import annotations

from nsbroker.wire import OpenRequest, Request

from ..clients.client import Client
from ..policy.plans import Refusal
from .handler import Granted, Handler


class Delivery:
    """The way of outcomes to clients."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def deliver(self, client: Client, request: Request, outcome: Granted | Refusal) -> None:
        """Answer a request; takes over the sockets of the outcome.

        Raises:
            OSError: the answer can't be delivered.
        """
        if isinstance(outcome, Refusal):
            operation, specs = ("open", request.sockets) if isinstance(request, OpenRequest) else ("namespaces", ())
            client.reply(self._handler.refuse(client.peer, request.request_id, operation, outcome, specs))
            return
        try:
            client.reply(outcome.reply, [one.sock.fileno() for one in outcome.opened])
        finally:
            outcome.close()
