"""`nsbrokerd metrics` serves the status in the format of Prometheus, as a process of its own without privileges.

Only this command imports prometheus_client. The daemon never does.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys

from ..config.paths import read_paths
from .common import CommandError, add_config, warn_about

_DEFAULT = "127.0.0.1:9758"
_ENDING = frozenset({signal.SIGTERM, signal.SIGINT})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_config(parser)
    parser.add_argument(
        "--listen", metavar="ADDRESS:PORT", default=_DEFAULT, help="where Prometheus asks; default: %(default)s"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command. Return the exit status."""
    host, port = _address(arguments.listen)
    paths = read_paths(arguments.config)
    warn_about(paths)
    if os.geteuid() == 0:
        print(
            "nsbrokerd: metrics needs no privileges: run it as a member of the group nsbroker-status", file=sys.stderr
        )
    try:
        from .exporter import start
    except ImportError as error:
        told = "the library prometheus_client can't be used: install nsbroker[metrics], or python3-prometheus-client"
        raise CommandError(f"{told}: {error}") from error
    # Before there are threads, so that only sigwait takes these signals.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        port = start(paths.control, host, port)
    except OSError as error:
        raise CommandError(f"can't listen on {arguments.listen}: {error.strerror or error}") from error
    shown = f"[{host}]" if ":" in host else host
    print(f"nsbrokerd: metrics at http://{shown}:{port}/metrics", file=sys.stderr, flush=True)
    signal.sigwait(_ENDING)
    return 0


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (colon and port.isdecimal() and int(port) < 2**16):
        raise CommandError(f"{text!r} is not ADDRESS:PORT, like {_DEFAULT} or [::1]:9758")
    return host.strip("[]") or "0.0.0.0", int(port)
