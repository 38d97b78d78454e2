"""The verb `NS proxy -l ADDRESS:PORT`: offers a SOCKS5 and HTTP proxy whose connections are made in the namespace."""

from __future__ import annotations

import signal
import socket

from ..link.errors import Error
from ..names.numeric import is_name
from ..place.options import AtBirth
from ..wire.messages import SocketSpec
from .arguments import OPTIONS_AT_BIRTH, at_birth, listen_address, parse, whole_number
from .command import Command
from .messages import INTERRUPTED, REFUSED, FailureError, print_text, say, usage_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..proxy.handshake import Target

_OPTIONS = {"-l": True, "--any-user": False, **OPTIONS_AT_BIRTH}
_MOST_LISTENERS = 64
_INET, _STREAM = int(socket.AF_INET), int(socket.SOCK_STREAM)


def run(command: Command) -> int:
    """Serve until SIGTERM or SIGINT, and return the exit status. Each listener's address is a line of output."""
    options, rest = parse(command.args, _OPTIONS, anywhere=True)
    endpoints = [_endpoint(value) for name, value in options if name == "-l"]
    if rest:
        raise usage_error(f"proxy takes no {rest[0]!r}")
    if not 1 <= len(endpoints) <= _MOST_LISTENERS:
        raise usage_error("proxy needs -l ADDRESS:PORT or -l PATH, for example -l 127.0.0.1:1080")
    selected = at_birth(options)
    _expect_socket(command, selected)
    # A client can be gone when its answer comes.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    return _serve(command, selected, endpoints, any_user="--any-user" in dict(options))


def _endpoint(text: str) -> tuple[int, str | tuple[str, int]]:
    """Return family and address of a `-l`. The path of a Unix socket is its own address."""
    if text.startswith(("/", "./", "../")):
        return int(socket.AF_UNIX), text
    if text.startswith("@"):
        raise usage_error(f"-l {text}: an abstract socket has no owner; use the path of a Unix socket")
    if whole_number(text, 65535) is not None or text.startswith((":", "*:")):
        port = text.rpartition(":")[2]
        raise usage_error(f"-l {text}: write the address, too, for example 127.0.0.1:{port}")
    family, (host, port_number) = listen_address(text, None)
    if is_name(host, family):
        raise usage_error(f"-l {text}: {host!r} is no address; use 127.0.0.1, [::1], or the path of a Unix socket")
    return family, (host, port_number)


def _expect_socket(command: Command, selected: AtBirth) -> None:
    """Get one socket and close it, so that a refusal is said at once, and not to each client."""
    spec = SocketSpec(command.namespace, _INET, _STREAM, options=selected.of(_INET))
    (sock,) = command.client.open([spec], command.wait_s)
    sock.close()


def _serve(
    command: Command, selected: AtBirth, endpoints: list[tuple[int, str | tuple[str, int]]], *, any_user: bool
) -> int:
    from contextlib import ExitStack

    try:
        from ..proxy.dialing import CalmPlace
        from ..proxy.listeners import Door, ListenError, raise_file_limit
        from ..proxy.log import Log, can_be_written
        from ..proxy.server import Proxy, Texts, serve
    except ImportError as error:
        text = f"proxy needs {error.name}: install it, for example by pip install 'nsbroker[proxy]'"
        raise FailureError(text) from error

    def failed(target: Target, error: OSError | ExceptionGroup[OSError]) -> str:
        return _line(command.namespace, target, error)

    with ExitStack() as stack:
        try:
            stack.callback((door := Door(any_user=any_user)).close)
            listeners = []
            for family, address in endpoints:
                listeners.append(door.listen(family, address))
                stack.callback(listeners[-1].close)
        except ListenError as error:
            raise FailureError(str(error), REFUSED) from error
        raise_file_limit()
        place = CalmPlace(command.client.broker, command.namespace, command.wait_s, selected)
        texts = Texts(failed, Log(lambda text: say(text) if can_be_written() else None))
        ready = "".join(f"{listener.name}\n" for listener in listeners)
        ended_by = serve(Proxy(place, door, texts), listeners, lambda: print_text(ready))
    return INTERRUPTED if ended_by == signal.SIGINT else 0


def _line(namespace: str, target: Target, error: OSError | ExceptionGroup[OSError]) -> str:
    from . import dialing
    from .advice import after_refusal, connect_failure

    if isinstance(error, Error):
        reason = f"{error.strerror or error}{after_refusal(error, namespace)}"
        return f"can't connect to {target.host} port {target.port}: {reason}"
    return str(connect_failure(namespace, dialing.Target(target.host, target.port), error))
