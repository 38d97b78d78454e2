"""The errors of look-ups: `socket.gaierror` with the codes and texts of gai_strerror(3)."""

from __future__ import annotations

import socket

from .resolv_conf import NameServer

# Not all of these are in the socket module of every Python on Linux. Source: <netdb.h>.
EAI_BADFLAGS = -1
EAI_NONAME = -2
EAI_AGAIN = -3
EAI_FAIL = -4
EAI_NODATA = -5
EAI_FAMILY = -6
EAI_SOCKTYPE = -7
EAI_SERVICE = -8
EAI_ADDRFAMILY = -9

_TEXTS = {
    EAI_BADFLAGS: "Bad value for ai_flags",
    EAI_NONAME: "Name or service not known",
    EAI_AGAIN: "Temporary failure in name resolution",
    EAI_FAIL: "Non-recoverable failure in name resolution",
    EAI_NODATA: "No address associated with hostname",
    EAI_FAMILY: "ai_family not supported",
    EAI_SOCKTYPE: "ai_socktype not supported",
    EAI_SERVICE: "Servname not supported for ai_socktype",
    EAI_ADDRFAMILY: "Address family for hostname not supported",
}

_OWN_FILES = "/etc/netns/"
"""Where a resolv.conf is a namespace's own. Source: ip-netns(8)."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .actions import Configuration


def gaierror(code: int, detail: str = "") -> socket.gaierror:
    """Make the exception for a code, with the usual text; `detail` comes behind it."""
    text = _TEXTS[code]
    return socket.gaierror(code, f"{text}: {detail}" if detail else text)


def no_answer(configuration: Configuration, complaints: Mapping[NameServer, str]) -> socket.gaierror:
    """Make the exception for a look-up that no name server answered.

    Args:
        configuration: whose servers they are.
        complaints: what was wrong with each, in words.
    """
    refusing = [server for server in complaints if is_loopback(server)]
    if refusing and len(refusing) == len(complaints) and all(complaints[server] != SILENT for server in refusing):
        return gaierror(EAI_AGAIN, _unreachable_stub(refusing[0], configuration))
    error = gaierror(EAI_AGAIN)
    for server, complaint in complaints.items():
        error.add_note(f"name server {server} of {configuration.origin}: {complaint}")
    return error


SILENT = "no answer in time"


def _unreachable_stub(server: NameServer, configuration: Configuration) -> str:
    where = f"namespace {configuration.namespace}" if configuration.namespace else "the namespace"
    named = f"the name server {server} of {configuration.origin}"
    if configuration.origin.startswith(_OWN_FILES) or configuration.namespace == "@host":
        return f"{named} can't be reached: {where} has none at this address"
    own = f"{_OWN_FILES}{configuration.namespace or 'NAME'}/resolv.conf"
    return f"{named} is the host's own stub, which {where} can't reach: give the namespace its own in {own}"


def is_loopback(server: NameServer) -> bool:
    """Tell whether a server is one that each namespace has of its own, or has not."""
    return server.address == "::1" or (server.family == socket.AF_INET and server.address.startswith("127."))
