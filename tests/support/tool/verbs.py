"""The verbs and options of nsbroker-get's parsers, to compare help texts, manual pages and completions with."""

from __future__ import annotations

from nsbroker.cli import command, connect, explain, listen, listing, proxy, resolve, run, socket_verb

GENERAL: dict[str, bool] = command._OPTIONS
"""The options before the verb, and whether each takes a value."""

VERBS: dict[str, dict[str, bool]] = {
    "connect": connect._OPTIONS,
    "explain": explain._OPTIONS,
    "listen": listen._OPTIONS,
    "list": listing._OPTIONS,
    "proxy": proxy._OPTIONS,
    "resolve": resolve._OPTIONS,
    "run": run._OPTIONS,
    "socket": socket_verb._OPTIONS,
}
"""The options of each verb."""
