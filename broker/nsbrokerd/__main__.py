"""The command `nsbrokerd`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .config import DEFAULT_CONFIG_PATH, ConfigError
from .kinds import KINDS


def main() -> int:
    """Run the command; gives the exit status."""
    arguments = _parser().parse_args()
    if arguments.command == "serve":
        from .service import serve

        return serve(arguments.config)
    return _check(arguments.config) if arguments.command == "check" else _explain(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nsbrokerd", description="Makes sockets inside network namespaces for programs without privileges."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add(commands, "serve", "run the broker (SIGHUP reloads, SIGTERM stops)")
    _add(commands, "check", "say what is wrong with the configuration, and what this kernel can't do")
    explain = _add(commands, "explain", "say what would happen to a request, and by which grant")
    explain.add_argument("--user", required=True, help="name or id of who asks")
    explain.add_argument("--bind", metavar="ADDRESS:PORT", help="where the broker shall bind it")
    explain.add_argument("--connect", metavar="ADDRESS:PORT", help="where it wants to connect or send to")
    explain.add_argument("--option", action="append", default=[], help="like mark=0x10, bind_device=eth0, transparent")
    explain.add_argument("namespace", metavar="NS", help="name of a namespace, @host, or @own")
    explain.add_argument("kind", metavar="KIND", choices=KINDS, help=", ".join(KINDS))
    return parser


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text)
    command.add_argument("--config", type=Path, default=Path(DEFAULT_CONFIG_PATH), help="default: %(default)s")
    return command


def _check(path: Path) -> int:
    from .check import check

    try:
        lines = check(path)
    except ConfigError as error:
        print("\n".join(map(str, error.problems)), file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    from .explain import ExplainError, explain

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
        print(error, file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0 if is_allowed else 1


if __name__ == "__main__":
    sys.exit(main())
