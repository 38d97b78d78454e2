"""paho-mqtt in a namespace, by TCP, TLS and WebSockets."""

from __future__ import annotations

import socket
from typing import Any, NoReturn

import dns.resolver
import paho.mqtt.client
from paho.mqtt.enums import MQTTErrorCode

from ._connect import connect
from ._namespace import InNamespace, NamespaceLike, as_namespace, require
from .dnspython import Resolver

__all__ = ["Client"]

require(paho.mqtt.client, "_socketpair_compat")
require(paho.mqtt.client.Client, "_create_socket", "_create_socket_connection")


def _wake_up_pair() -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair()
    for sock in pair:
        sock.setblocking(False)
    return pair


# By these two sockets, the threads of a client wake each other. paho's own are two ends of a TCP connection, on the
# loopback interface of the program's own namespace.
paho.mqtt.client._socketpair_compat = _wake_up_pair


class Client(InNamespace, paho.mqtt.client.Client):
    """`paho.mqtt.client.Client` in a namespace. It does not use the proxies of the environment.

    Args:
        namespace: the namespace of the connections and of the look-ups.
        args: as for `paho.mqtt.client.Client`.
        kwargs: the same by name.

    Raises:
        ValueError: the transport is "unix", which is in no network namespace.

    Example:
        >>> from paho.mqtt.enums import CallbackAPIVersion
        >>> client = Client("blue", CallbackAPIVersion.VERSION2)
        >>> done = client.connect("mqtt.example.org")
        >>> done = client.loop_start()
        >>> client.publish("greeting", "hello", qos=1).wait_for_publish(timeout=20)
        >>> done = client.disconnect()
        >>> done = client.loop_stop()
    """

    def __init__(self, namespace: NamespaceLike, *args: Any, **kwargs: Any) -> None:
        super().__init__(namespace, *args, **kwargs)
        _refuse_paths(self)

    def reinitialise(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse, because paho would make the client anew without its namespace.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("an MQTT client in a namespace can't be made anew in its place; make another Client")

    def proxy_set(self, **proxy_args: Any) -> NoReturn:
        """Refuse, since PySocks would reach the proxy by its own sockets.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            "an MQTT client in a namespace can't use a proxy, since PySocks makes its own sockets; leave out the proxy"
        )

    def connect_srv(self, domain: str | None = None, *args: Any, **kwargs: Any) -> MQTTErrorCode:
        """Connect to the first host of the domain's SRV records that answers. They are looked up in the namespace.

        Args:
            domain: the domain. paho itself has a default: the domain of this machine in the program's own namespace.
            args: as for `paho.mqtt.client.Client.connect_srv`.
            kwargs: the same by name.

        Raises:
            ValueError: there is no domain, no record, or no host that answers.
        """
        if domain is None:
            raise ValueError("an MQTT client in a namespace does not know the domain of the namespace: pass the domain")
        service = "_secure-mqtt" if self._ssl else "_mqtt"
        try:
            answer = Resolver(self._namespace).resolve(f"{service}._tcp.{domain}", "SRV")
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer, dns.resolver.NoNameservers) as error:
            raise ValueError(f"No answer/NXDOMAIN for SRV in {domain}") from error
        failure: Exception | None = None
        records: Any = answer.rrset
        for record in records.processing_order():
            try:
                return self.connect(record.target.to_text(omit_final_dot=True), record.port, *args, **kwargs)
            except (OSError, paho.mqtt.client.WebsocketConnectionError) as error:
                failure = error
        raise ValueError(f"No SRV hosts responded: {failure}") from failure

    def _create_socket_connection(self) -> socket.socket:
        source = (self._bind_address, self._bind_port)
        own = None if source == ("", 0) else source
        return connect(self._namespace, self._host, self._port, self._connect_timeout, source_address=own)


def move(client: paho.mqtt.client.Client, namespace: NamespaceLike) -> None:
    """Move a client that another library made, and that has not connected yet, into a namespace.

    Raises:
        ImportError: the library made a client of a class of its own.
        ValueError: the transport is "unix", which is in no network namespace.
    """
    _refuse_paths(client)
    if type(client) is not paho.mqtt.client.Client:
        raise ImportError(
            f"the MQTT client is a {type(client).__qualname__}, whose sockets can't be kept in a namespace; install "
            "another version of its library"
        )
    client.__class__ = Client
    client._namespace = as_namespace(namespace)  # type: ignore[attr-defined]  # of its new class


def _refuse_paths(client: paho.mqtt.client.Client) -> None:
    if client._transport == "unix":
        raise ValueError(
            'an MQTT client in a namespace has no transport "unix", since a path is in no network namespace; use "tcp" '
            'or "websockets"'
        )
