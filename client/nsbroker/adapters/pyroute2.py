"""pyroute2's netlink sockets in a namespace: links, addresses, routes, neighbours, rules, sockets, and their events.

Every thread and event loop that uses an object gets a socket of the namespace. The policy must grant `netlink:route`
for the classes of RTNL, `netlink:sock_diag` for `DiagSocket`, and `netlink:generic` for the other ones. The kernel
refuses changes (EPERM), since a socket of the broker lends no rights.

For another netlink class of pyroute2, write `Inside` or `AsyncInside` in front of it.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import socket
import threading
from typing import Any, NoReturn

import pyroute2
from pyroute2 import config
from pyroute2.ethtool.ioctl import IoctlEthtool
from pyroute2.netlink.nlsocket import AsyncNetlinkSocket
from pyroute2.netlink.rtnl.iprsocket import IPRouteProxy

from ..drivers.asyncio import run
from ..drivers.thread import run as run_in_thread
from ..link.broker import plain_socket
from ..link.errors import WrongNamespaceError
from ..module.namespace import Namespace
from ..place.place import Place
from ..wire.kind_names import NETLINK_PROTOCOLS
from ._asyncio_loop import NamespaceLoop
from ._namespace import NamespaceLike, as_namespace, require

require(AsyncNetlinkSocket, "setup_socket", "setup_endpoint")
require(IPRouteProxy, "route")

_OUTSIDE = {
    "netns": "the namespace is the first argument",
    "fileno": "the broker makes the socket",
    "use_socket": "the broker makes the socket",
    "libc": "the adapter does not call setns",
    "telemetry": "pyroute2 sends it from the program's own namespace",
}
"""Options that would leave the namespace, and the reasons why an adapter does without them."""


def _refuse_options(options: dict[str, Any]) -> None:
    for name, reason in _OUTSIDE.items():
        if options.get(name) is not None:
            raise TypeError(f"pyroute2 in a namespace has no option {name}: {reason}")
    if getattr(config, "telemetry", None) is not None:
        raise TypeError(f"pyroute2 in a namespace needs pyroute2.config.telemetry = None: {_OUTSIDE['telemetry']}")


class _Proxy:
    """Refuses the requests that pyroute2 would carry out itself: it would do so in the program's own namespace."""

    def handle(self, msg: Any) -> bytes:
        for predicate, function in IPRouteProxy.route.get(msg["header"]["type"], ()):
            if predicate(msg):
                text = f"pyroute2 carries this request out by itself, by {function.__name__}"
                raise NotImplementedError(f"{text}, which would be in the program's own namespace")
        return b""


class AsyncInside:
    """Puts an asynchronous netlink class of pyroute2 into a namespace. Write it in front of that class.

    Args:
        namespace: the namespace of the sockets.
        options: as for the class, except netns, fileno, use_socket, libc and telemetry.

    Raises:
        TypeError: one of these options is given.

    Example:
        >>> class AsyncWireGuard(AsyncInside, pyroute2.AsyncWireGuard):
        ...     pass
    """

    def __init__(self, namespace: NamespaceLike, **options: Any) -> None:
        _refuse_options(options)
        super().__init__(**options)
        self._enter(as_namespace(namespace))

    def _enter(self, namespace: Namespace) -> None:
        """Put an object that has no socket yet into a namespace."""
        self._place: Place = namespace._place
        self._adopting = threading.Lock()
        self.request_proxy: Any = self.request_proxy and _Proxy()

    async def setup_endpoint(self) -> None:
        """Prepare this thread's socket. pyroute2 calls this before a request. It does not block the event loop."""
        local: Any = self.local  # type: ignore[attr-defined]  # of the class that is mixed in
        if not hasattr(local, "socket"):
            [made] = await run(self._open())
            if hasattr(local, "socket"):
                made.close()  # Another task of this thread was faster.
            else:
                local.prepared = made
                _ = self.socket  # type: ignore[attr-defined]  # The attribute makes it, by setup_socket.
        loop = asyncio.get_running_loop()
        if isinstance(loop, NamespaceLoop) and getattr(local, "transport", None) is None:
            # You chose the namespace of this socket, which can be the program's own.
            loop.allow(local.socket)
        await super().setup_endpoint()  # type: ignore[misc]  # the same

    def setup_socket(self) -> Any:
        """Return a new socket of the namespace, with the options that pyroute2 sets. pyroute2 calls this.

        Raises:
            WrongNamespaceError: this version of pyroute2 makes the socket itself.
        """
        made = self.local.__dict__.pop("prepared", None) or run_in_thread(self._open())[0]  # type: ignore[attr-defined]
        spec: Any = self.spec  # type: ignore[attr-defined]  # the same
        with self._adopting:  # The threads that use this object share its spec.
            number = spec["fileno"] = made.detach()
            try:
                sock = super().setup_socket()  # type: ignore[misc]  # the same
            finally:
                spec["fileno"] = None
        if sock.fileno() != number:
            sock.close()
            text = "this version of pyroute2 makes its sockets in the program's own namespace: install another one"
            raise WrongNamespaceError(errno.EXDEV, text)
        return sock

    def _open(self) -> Any:
        spec: Any = self.spec  # type: ignore[attr-defined]  # the same
        return self._place.open(
            plain_socket, [self._place.blocking_spec(socket.AF_NETLINK, socket.SOCK_DGRAM, spec["family"])]
        )

    def clone(self) -> NoReturn:
        """Refuse, since pyroute2 would make the copy without its namespace."""
        raise NotImplementedError("an object in a namespace can't be cloned: make another one of its class")


@functools.cache
def _inside(own_class: Any) -> Any:
    return type(own_class.__name__, (AsyncInside, own_class), {})


class Inside:
    """Puts a netlink class of pyroute2 into a namespace. Write it in front of that class.

    Args:
        namespace: the namespace of the sockets.
        options: as for the class, except netns, fileno, use_socket, libc and telemetry.

    Raises:
        TypeError: one of these options is given.

    Example:
        >>> class WireGuard(Inside, pyroute2.WireGuard):
        ...     pass
    """

    def __init__(self, namespace: NamespaceLike, **options: Any) -> None:
        _refuse_options(options)
        self._namespace = as_namespace(namespace)
        try:
            super().__init__(**options)
        except BaseException:
            if "asyncore" in self.__dict__:
                self.close()  # type: ignore[attr-defined]  # of the class that is mixed in
            raise

    @property
    def asyncore(self) -> Any:
        """The asynchronous object that does the work. Each object that becomes it, does so inside the namespace."""
        return self.__dict__["asyncore"]

    @asyncore.setter
    def asyncore(self, made: Any) -> None:
        # pyroute2 sets this in its constructors, before the object has a socket. Some take their class from the
        # attribute async_class, others from the module. Here is the one place that all of them pass.
        if not isinstance(made, AsyncInside):
            if made._AsyncCoreSocket__open_sockets:
                raise ValueError("this object has sockets in the program's own namespace already: make a new one")
            made.__class__ = _inside(made.__class__)
            made._enter(self._namespace)
        self.__dict__["asyncore"] = made


class AsyncIPRoute(AsyncInside, pyroute2.AsyncIPRoute):
    """`pyroute2.AsyncIPRoute` in a namespace.

    Args:
        namespace: the namespace of the sockets. The policy must grant `netlink:route`.
        options: as for `pyroute2.AsyncIPRoute`.

    Example:
        >>> async with AsyncIPRoute("blue") as ipr:
        ...     names = [link.get("ifname") async for link in await ipr.link("dump")]
        >>> "eth0" in names
        True
    """


class IPRoute(Inside, pyroute2.IPRoute):
    """`pyroute2.IPRoute` in a namespace.

    Args:
        namespace: the namespace of the sockets. The policy must grant `netlink:route`.
        options: as for `pyroute2.IPRoute`.

    Example:
        >>> with IPRoute("blue") as ipr:
        ...     addresses = [message.get("address") for message in ipr.addr("dump", label="eth0")]
        >>> addresses
        ['10.0.0.2']
    """


class AsyncIPRSocket(AsyncInside, pyroute2.AsyncIPRSocket):
    """`pyroute2.AsyncIPRSocket` in a namespace.

    Args:
        namespace: the namespace of the sockets. The policy must grant `netlink:route`.
        options: as for `pyroute2.AsyncIPRSocket`.

    Example:
        >>> async with AsyncIPRSocket("blue") as sock:
        ...     await sock.bind()  # From here on, `sock.get()` yields the events of the namespace.
    """


class IPRSocket(Inside, pyroute2.IPRSocket):
    """`pyroute2.IPRSocket` in a namespace. You can wait for it by `select`.

    Args:
        namespace: the namespace of the sockets. The policy must grant `netlink:route`.
        options: as for `pyroute2.IPRSocket`.

    Example:
        >>> with IPRSocket("blue") as sock:
        ...     sock.bind()  # From here on, `sock.get()` returns the events of the namespace.
    """


class DiagSocket(Inside, pyroute2.DiagSocket):
    """`pyroute2.DiagSocket` in a namespace.

    Args:
        namespace: the namespace whose sockets it lists. The policy must grant `netlink:sock_diag`.

    Example:
        >>> with DiagSocket("blue") as diag:
        ...     sockets = diag.get_sock_stats(family=socket.AF_INET, protocol=socket.IPPROTO_TCP)
    """


class AsyncGenericNetlinkSocket(AsyncInside, pyroute2.AsyncGenericNetlinkSocket):
    """`pyroute2.AsyncGenericNetlinkSocket` in a namespace.

    Args:
        namespace: the namespace of the sockets. The policy must grant `netlink:generic`.
        options: as for `pyroute2.AsyncGenericNetlinkSocket`.

    Example:
        >>> from pyroute2.netlink import ctrlmsg
        >>> async with AsyncGenericNetlinkSocket("blue") as sock:
        ...     await sock.bind("nlctrl", ctrlmsg)
        >>> sock.prid
        16
    """


class GenericNetlinkSocket(Inside, pyroute2.GenericNetlinkSocket):
    """`pyroute2.GenericNetlinkSocket` in a namespace.

    Args:
        namespace: the namespace of the sockets. The policy must grant `netlink:generic`.
        options: as for `pyroute2.GenericNetlinkSocket`.

    Example:
        >>> from pyroute2.netlink import ctrlmsg
        >>> with GenericNetlinkSocket("blue") as sock:
        ...     sock.bind("nlctrl", ctrlmsg)
        >>> sock.prid
        16
    """


class AsyncNlEthtool(AsyncInside, pyroute2.AsyncNlEthtool):
    """`pyroute2.AsyncNlEthtool` in a namespace.

    Args:
        namespace: the namespace of the interfaces. The policy must grant `netlink:generic`.
        options: as for `pyroute2.AsyncNlEthtool`.

    Example:
        >>> async with AsyncNlEthtool("blue") as ethtool:
        ...     [state] = [message async for message in await ethtool.get_linkstate("eth0")]
        >>> state.get("ETHTOOL_A_LINKSTATE_LINK")
        1
    """


class NlEthtool(Inside, pyroute2.NlEthtool):
    """`pyroute2.NlEthtool` in a namespace.

    Args:
        namespace: the namespace of the interfaces. The policy must grant `netlink:generic`.
        options: as for `pyroute2.NlEthtool`.

    Example:
        >>> with NlEthtool("blue") as ethtool:
        ...     [state] = ethtool.get_linkstate("eth0")
        >>> state.get("ETHTOOL_A_LINKSTATE_LINK")
        1
    """


class _Ioctl(IoctlEthtool):
    """Asks by ioctl on a netlink socket of the namespace, for which the kernel accepts SIOCETHTOOL, too."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.sock: socket.socket
        self.sock.close()
        spec = place.blocking_spec(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_PROTOCOLS["generic"])
        [self.sock] = run_in_thread(place.open(plain_socket, [spec]))


class Ethtool(pyroute2.Ethtool):
    """`pyroute2.Ethtool` in a namespace.

    Args:
        namespace: the namespace of the interfaces. The policy must grant `netlink:generic`.

    Example:
        >>> with Ethtool("blue") as ethtool:
        ...     mode = ethtool.get_link_mode("eth0")
        >>> mode.speed
        10000
    """

    def __init__(self, namespace: NamespaceLike) -> None:
        # In place of the constructor of pyroute2, which makes both sockets in the program's own namespace.
        namespace = as_namespace(namespace)
        self._with_ioctl = _Ioctl(namespace._place)
        self._with_nl = NlEthtool(namespace)
        self._with_nl.module_err_level = "debug"
        self._is_nl_working = self._with_nl.is_nlethtool_in_kernel()
