"""The line about a failure: its cause, and the remedy. Loaded only after a failure. Pure."""

from __future__ import annotations

import errno
import os
import shlex
import socket

from ..link.errors import AccessDeniedError, Error, NamespaceNotFoundError
from ..names.errors import EAI_ADDRFAMILY, EAI_NODATA, EAI_NONAME
from ..place.options import at_birth_of
from ..supervise.calls import SEE_LIST
from ..wire.kind_names import KIND_OF_TRIPLE
from ..wire.messages import SocketSpec
from .arguments import PORT_KINDS
from .command import VERBS
from .dialing import SourceError, Target
from .messages import REFUSED, FailureError

ENGINES = ("podman", "docker", "pod")
"""The words before the colon in the name of a container."""

_TO_LOOK_UP = "nsbroker-get NS resolve shows the addresses of a name, and -4 and -6 choose the family"
_TO_BIND = {
    errno.EADDRINUSE: "another socket of the namespace has it; end its program, or choose another port or name",
    errno.EADDRNOTAVAIL: "no interface of the namespace has it; give it to one, or use --wait or --freebind",
    errno.EACCES: "the namespace allows ports this low only to root; let a grant list the port in bind",
    errno.EPROTONOSUPPORT: "this kernel does not support that protocol; load its module, or use another one",
    errno.EAFNOSUPPORT: "this kernel does not support that family of addresses; use IPv4",
    errno.ENODEV: "the namespace has no such interface",
    **dict.fromkeys((EAI_NONAME, EAI_NODATA, EAI_ADDRFAMILY), _TO_LOOK_UP),
}

_TO_CONNECT = {
    errno.ECONNREFUSED: "no server listens there, so start one, or check address and port",
    errno.EHOSTUNREACH: "that host does not answer, so check the address, and that the host is up",
    errno.ENETUNREACH: "the namespace has no route there, see nsbroker-get {0} -- ip route",
    errno.EADDRNOTAVAIL: "the namespace has no such address, see nsbroker-get {0} -- ip -brief address",
    errno.ETIMEDOUT: "no answer, so check the address, and the firewalls on the way",
    errno.EPERM: "the limit of your grant or a firewall forbids it; nsbroker-get list shows the limit",
    errno.EACCES: "the kernel allows it to root alone, so choose another address",
    errno.ENODEV: "the namespace has no such interface, see nsbroker-get {0} -- ip -brief link",
}


def after_refusal(error: OSError, namespace: str) -> str:
    """Return the remedy to put behind the broker's reason ("": the reason is enough).

    Args:
        error: the refusal.
        namespace: the namespace's name or path.
    """
    if namespace in VERBS and isinstance(error, AccessDeniedError | NamespaceNotFoundError):
        # Not a failure by itself: a namespace can have this name.
        return f"; if {namespace} is your verb, put a namespace before it: nsbroker-get NS {namespace}"
    if isinstance(error, AccessDeniedError):
        # nsbroker-get itself opens a path: if that fails, no grant would help.
        if error.filename is not None:
            return "; the process must be yours"
        arguments = error.spec and arguments_of_explain(error.spec)
        if not arguments:
            return SEE_LIST
        return f"; {shlex.join(['nsbroker-get', namespace, 'explain', *arguments])} shows what each grant lacks"
    if isinstance(error, NamespaceNotFoundError) and error.filename is None:
        if namespace.partition(":")[0] in ENGINES and ":" in namespace:
            return ""  # the broker's reason has the remedy
        if "/" in namespace:
            return ": give the path of one, such as /proc/PID/ns/net"
        return "; nsbroker-get list shows which there are, and --wait SECONDS waits for one"
    return ""


def arguments_of_explain(spec: SocketSpec) -> list[str]:
    """Return the arguments by which the verb `explain` asks about a socket, or [] if it can't.

    It asks about one address without its interface, as rules cover them.
    """
    kind = KIND_OF_TRIPLE.get((spec.family, spec.type & ~(socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC), spec.proto))
    if kind is None:
        return []
    arguments = [kind]
    is_ipv6 = spec.family == socket.AF_INET6
    has_ports = kind in PORT_KINDS
    if isinstance(spec.bind, tuple) and (has_ports or spec.family in (socket.AF_INET, socket.AF_INET6)):
        host, port = str(spec.bind[0]).partition("%")[0], spec.bind[1]
        if has_ports:
            host = f"[{host}]:{port}" if is_ipv6 else f"{host}:{port}"
        arguments += ["--bind", host]
    elif is_ipv6:
        arguments.append("-6")
    at_birth = at_birth_of(spec.options)
    if at_birth.mark is not None:
        arguments += ["--mark", f"{at_birth.mark:#x}"]
    arguments += ["--transparent"] if at_birth.transparent else []
    return arguments


def bind_failure(error: OSError, options: list[str]) -> OSError | FailureError:
    """Return the failure that names the option whose address the kernel refused.

    Args:
        error: the error of `Client.open`. The broker's own refusals are returned unchanged.
        options: the option behind each socket, as the user wrote it.
    """
    index: int | None = getattr(error, "index", None)
    if index is None or isinstance(error, Error):
        return error
    reasons = [str(error.strerror), _TO_BIND.get(error.errno or 0, ""), *getattr(error, "__notes__", [])[:1]]
    return FailureError(f"{options[index]}: {': '.join(filter(None, reasons))}", REFUSED)


def connect_failure(namespace: str, target: Target, error: OSError | ExceptionGroup[OSError]) -> FailureError:
    """Return the failure for an error of `dial` that is not the broker's."""
    errors = list(error.exceptions) if isinstance(error, ExceptionGroup) else [error]
    failed = f"can't connect to {target.host} port {target.port}"
    if target.source is not None and all(_is_about_source(each) for each in errors):
        failed = f"can't connect from {target.source}"
    # Each reason once, in order.
    reasons = dict.fromkeys(_reason(namespace, target, each) for each in errors)
    return FailureError(f"{failed}: {'; '.join(reasons)}", REFUSED)


def _is_about_source(error: BaseException) -> bool:
    return isinstance(error, SourceError) or getattr(error, "errno", None) == errno.EADDRNOTAVAIL


def _reason(namespace: str, target: Target, error: BaseException) -> str:
    number = getattr(error, "errno", None) or 0
    if isinstance(error, TimeoutError) and not number:
        return f"timed out after {target.limit_s:g} s (-w): {_TO_CONNECT[errno.ETIMEDOUT]}"
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if isinstance(error, socket.gaierror):
        return ": ".join([text, *getattr(error, "__notes__", [])[:1]])
    return f"{os.strerror(number)}: {_TO_CONNECT[number].format(namespace)}" if number in _TO_CONNECT else text
