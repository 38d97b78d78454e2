"""The command `nsbrokerd`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from .config import DEFAULT_CONFIG_PATH, DEFAULT_SEAL_PATH, ConfigError
from .policy.kinds import KINDS


def main() -> int:
    """Run the command; gives the exit status."""
    arguments = _parser().parse_args()
    run: Callable[[argparse.Namespace], int] = arguments.run
    return run(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nsbrokerd", description="Makes sockets inside network namespaces for programs without privileges."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_config(_add(commands, "serve", _serve, "run the broker (SIGHUP reloads, SIGTERM stops)"))
    _add_config(_add(commands, "check", _check, "say what is wrong with the configuration, and what this host can do"))
    explain = _add(commands, "explain", _explain, "say what would happen to a request, and by which grant")
    _add_config(explain)
    explain.add_argument("--user", required=True, help="name or id of who asks")
    explain.add_argument("--bind", metavar="ADDRESS:PORT", help="where the broker shall bind it")
    explain.add_argument("--connect", metavar="ADDRESS:PORT", help="where it wants to connect or send to")
    explain.add_argument("--option", action="append", default=[], help="like mark=0x10, bind_device=eth0, transparent")
    explain.add_argument("namespace", metavar="NS", help="name of a namespace, @host, or @own")
    explain.add_argument("kind", metavar="KIND", choices=KINDS, help=", ".join(KINDS))
    grants = _add(commands, "grants", _grants, "list the live sockets of grants with limits")
    _add_seal(grants)
    grants.add_argument("--json", action="store_true", help="as JSON")
    grants.add_argument("--watch", action="store_true", help="again every second")
    revoke = _add(commands, "revoke", _revoke, "take such sockets back: nothing goes in or out of them any more")
    _add_seal(revoke)
    revoke.add_argument("--grant", help="those of this grant")
    revoke.add_argument("--user", help="those of this user, by name or id")
    revoke.add_argument("--namespace", metavar="NS", help="those in it, by name, @host or the number that grants shows")
    revoke.add_argument("--cookie", help="this one, and what it accepted; several options: what matches all")
    return parser


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text)
    command.set_defaults(run=run)
    return command


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", type=Path, default=Path(DEFAULT_CONFIG_PATH), help="default: %(default)s")


def _add_seal(command: argparse.ArgumentParser) -> None:
    text = "where the broker keeps its limits (broker.seal of its configuration); default: %(default)s"
    command.add_argument("--seal", metavar="DIRECTORY", type=Path, default=Path(DEFAULT_SEAL_PATH), help=text)


def _serve(arguments: argparse.Namespace) -> int:
    from .service.broker import serve

    return serve(arguments.config)


def _check(arguments: argparse.Namespace) -> int:
    from .commands.check import check

    try:
        lines = check(arguments.config)
    except ConfigError as error:
        print("\n".join(map(str, error.problems)), file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    from .commands.explain import ExplainError, explain

    try:
        is_allowed, lines = explain(
            arguments.config,
            arguments.user,
            arguments.namespace,
            arguments.kind,
            bind=arguments.bind,
            options=arguments.option,
            connect=arguments.connect,
        )
    except (ConfigError, ExplainError) as error:
        return _say_error(error)
    print("\n".join(lines))
    return 0 if is_allowed else 1


def _grants(arguments: argparse.Namespace) -> int:
    from .commands.sockets import show_grants

    try:
        for text in show_grants(
            arguments.seal, as_json=arguments.json, watch=arguments.watch, is_terminal=sys.stdout.isatty()
        ):
            print(text, end="", flush=True)
    except OSError as error:
        return _say_error(error)
    except KeyboardInterrupt:
        return 0
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    from .commands.revoke import RevokeError, revoke

    selectors = {name: getattr(arguments, name) for name in ("grant", "user", "namespace", "cookie")}
    try:
        count, lines = revoke(arguments.seal, **selectors)
    except (RevokeError, OSError) as error:
        return _say_error(error)
    print("\n".join(lines))
    return 0 if count else 1


def _say_error(error: Exception) -> int:
    advice = ": this takes root" if isinstance(error, PermissionError) and os.geteuid() != 0 else ""
    for line in f"{error}{advice}".splitlines():
        print(f"nsbrokerd: {line}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
