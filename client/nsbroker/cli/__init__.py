"""The command nsbroker-get: sockets of network namespaces for people, scripts and programs in any language.

It may import every other room of the client. It runs for one socket, so each import costs the user time: no verb
loads argparse, typing or dataclasses.
"""

from __future__ import annotations

import gc
import os
import signal
import sys

from .messages import INTERRUPTED, REFUSED, SETUP_FAILED, FailureError, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from .command import Command

__all__ = ["main"]


def main(args: list[str] | None = None) -> NoReturn:
    """Run nsbroker-get with these arguments (default: those of this process), then end the process.

    The process ends by _exit(2): all output is written, and a full shutdown of Python would add a fifth to the time.
    """
    os._exit(_status_of(sys.argv[1:] if args is None else args))


def _status_of(args: list[str]) -> int:
    try:
        _prepare_process()
        return _run(args)
    except FailureError as failure:
        say(str(failure))
        return failure.status
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        # A module could not be loaded, most likely because the table of descriptors is full.
        say(error.strerror or str(error))
        return SETUP_FAILED
    except Exception as error:
        say(f"a bug in nsbroker-get, please report it: {type(error).__name__}: {error}")
        return SETUP_FAILED


def _prepare_process() -> None:
    # Python ignores SIGPIPE, and a program that we execute would inherit that. It would also inherit a socket that
    # took the number of a closed standard descriptor.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _run(args: list[str]) -> int:
    # Loading modules makes no garbage, and looking for garbage takes a tenth of the time.
    gc.disable()
    from .command import read_command

    command = read_command(args)
    run_verb = _verb(command.verb)
    gc.freeze()
    gc.enable()
    try:
        return run_verb(command)
    except OSError as error:
        return _explain(error, command.namespace)


def _verb(name: str) -> Callable[[Command], int]:
    if name == "connect":
        from .connect import run
    elif name == "listen":
        from .listen import run
    elif name == "proxy":
        from .proxy import run
    elif name == "resolve":
        from .resolve import run
    elif name == "socket":
        from .socket_verb import run
    elif name == "run":
        from .run import run
    elif name == "explain":
        from .explain import run
    elif name == "list":
        from .listing import run
    else:
        from .command import print_help as run
    return run


def _explain(error: OSError, namespace: str) -> int:
    from ..link.errors import BrokerProtocolError, BrokerUnavailableError, WrongNamespaceError
    from .advice import after_refusal

    say(f"{error.strerror or error}{after_refusal(error, namespace)}")
    no_broker = isinstance(error, BrokerUnavailableError | BrokerProtocolError | WrongNamespaceError)
    return SETUP_FAILED if no_broker else REFUSED
