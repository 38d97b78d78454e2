"""nsbroker-get: sockets of network namespaces for people, scripts and programs in any language.

It is started for one socket and so pays for every import: neither argparse nor typing nor dataclasses here.
"""

from __future__ import annotations

import gc
import os
import signal
import sys

from .failure import INTERRUPTED, REFUSED, SETUP_FAILED, FailureError, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from .command import Command

__all__ = ["main"]


def main(args: list[str] | None = None) -> NoReturn:
    """Be nsbroker-get, until the end of this process.

    It ends at once: all is written and the kernel closes the rest, while to take down an interpreter takes a fifth of
    the time of it all.
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
        # Not even a module could be loaded: the table of descriptors is full, most likely.
        say(error.strerror or str(error))
        return SETUP_FAILED
    except Exception as error:
        say(f"a bug in nsbroker-get, please report it: {type(error).__name__}: {error}")
        return SETUP_FAILED


def _prepare_process() -> None:
    # Python ignores SIGPIPE, and that would be passed on to the program that is run; as would a socket that
    # took the place of a standard descriptor which was closed.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _run(args: list[str]) -> int:
    # While modules are loaded there is no garbage, and to look for it takes a tenth of the time.
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


def _verb(name: str) -> Verb:
    if name == "connect":
        from .connect import run
    elif name == "listen":
        from .listen import run
    elif name == "resolve":
        from .resolve import run
    elif name == "socket":
        from .socket_verb import run
    elif name == "run":
        from .run import run
    elif name == "list":
        from .listing import run
    else:
        from .usage import run
    return run


def _explain(error: OSError, namespace: str) -> int:
    from ..link.errors import BrokerProtocolError, BrokerUnavailableError, WrongNamespaceError
    from .refusal import advice

    say(f"{error.strerror or error}{advice(error, namespace)}")
    no_broker = isinstance(error, BrokerUnavailableError | BrokerProtocolError | WrongNamespaceError)
    return SETUP_FAILED if no_broker else REFUSED


if TYPE_CHECKING:
    from collections.abc import Callable

    Verb = Callable[[Command], int]
