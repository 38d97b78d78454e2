"""aiomqtt in a namespace, by TCP, TLS and WebSockets."""

from __future__ import annotations

from typing import Any

import aiomqtt

from . import paho
from ._namespace import NamespaceLike

__all__ = ["Client"]


class Client(aiomqtt.Client):
    """`aiomqtt.Client` in a namespace. It does not use the proxies of the environment.

    Args:
        namespace: the namespace of the connections and of the look-ups.
        hostname: the name or the address of the MQTT server, in the namespace.
        args: as for `aiomqtt.Client`, except proxy.
        kwargs: the same by name.

    Raises:
        ValueError: a proxy was given, or the transport "unix", which is in no network namespace.

    Example:
        >>> async with Client("blue", "mqtt.example.org") as client:
        ...     await client.publish("greeting", "hello", qos=1)
    """

    def __init__(self, namespace: NamespaceLike, hostname: str, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("proxy") is not None:
            raise ValueError(
                "an MQTT client in a namespace can't use a proxy, since PySocks makes its own sockets; leave out the "
                "proxy"
            )
        super().__init__(hostname, *args, **kwargs)
        paho.move(self._client, namespace)
