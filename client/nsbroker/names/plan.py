"""The plan of a look-up in DNS: which question goes where next, and what the answers mean. It does no input or output.

A plan is a generator. Whoever drives it, in whatever way it does input and output, does this:

    plan = getaddrinfo("www", 80, ...)           # of `addrinfo`, or `getnameinfo` of `nameinfo`, or `look_up` of this
    action = next(plan)
    while True:
        action = plan.send(<what the action says is sent back>)
    # StopIteration: its value is the result. Anything else that is raised is the result as well.

with one method for each class of `actions`, and these promises:

- There is one socket at a time. `Ask` drops the one before and opens another, non-blocking, by the broker; it connects
  it, sends the packets, and reads once. `Read` reads once more from it. It is closed when the plan ends or is dropped.
- Time runs from when the socket is open: `Ask.timeout_s` is for connecting, sending and each `Read` together, and its
  end is sent back as a TimeoutError. What the broker's own answer may take is the client's business.
- OSErrors of an `Ask` or `Read` are sent back, never raised, the broker's refusals too; the plan knows which are fatal.
  Cancellation, KeyboardInterrupt and the like are raised in the driver, which then closes the plan and the socket.
- What the other actions need (`Configure`, `FindSources`, `FindFamilies`, interfaces) is done by functions that never
  block, in `interfaces`; only the sockets that they work on, and the files' text, come from the broker. What goes wrong
  there is raised in the driver. The last `Ask`'s socket, if it is UDP, will do for `FindSources` of its family.
- A driver for an event loop imports `codec` before its first plan: that takes 50 ms.

Source for what is asked next: __res_context_search in glibc's resolv/res_query.c.
"""

from __future__ import annotations

import socket

from ..wire.record import Record
from .failure import EAI_NODATA, EAI_NONAME, gaierror, no_answer
from .messages import AAAA, PTR, A
from .servers import Servers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .actions import Configuration, Steps
    from .resolv_conf import Settings
    from .verdict import Verdict

_LONGEST_NAME = 253
_LONGEST_LABEL = 63
_KINDS = {int(socket.AF_INET): A, int(socket.AF_INET6): AAAA}
_FAMILIES = {kind: family for family, kind in _KINDS.items()}


class Found(Record):
    """Addresses as (family, text), and the name that they belong to after all aliases."""

    addresses: tuple[tuple[int, str], ...]
    canonical: str


def look_up(
    name: str, families: Iterable[int], configuration: Configuration, rotation: int = 0, servers: Servers | None = None
) -> Steps[Found]:
    """Look up the addresses of a name, ASCII, with the search list.

    Raises:
        socket.gaierror: EAI_NONAME: there is no such name. EAI_NODATA: it has no such address. EAI_AGAIN: no server
            answered. EAI_FAIL: the policy grants no socket to ask by.
        OSError: the broker fails.
    """
    settings = configuration.settings
    wanted = [kind for kind in map(_KINDS.__getitem__, families) if not (settings.no_aaaa and kind == AAAA)]
    # Where no-aaaa leaves nothing to ask for, glibc still finds out whether there is such a name.
    kinds = wanted or [A]
    servers = servers or Servers(settings, rotation)
    verdict = yield from _search(servers, name, kinds, settings)
    if verdict is None:
        raise gaierror(EAI_NONAME)
    answers = [answer for kind in wanted if (answer := verdict.answers.get(kind)) and answer.records]
    if not answers:
        raise _why_not(verdict, servers, configuration)
    found = tuple((_FAMILIES[answer.kind], record) for answer in answers for record in answer.records)
    return Found(found, answers[0].canonical)


def look_up_address(packed: bytes, configuration: Configuration, rotation: int = 0) -> Steps[str]:
    """Look up the name of an address, which is given as inet_pton(3) packs it.

    Raises:
        socket.gaierror, OSError: as `look_up`.
    """
    servers = Servers(configuration.settings, rotation)
    verdict = yield from servers.ask(reverse_name(packed), [PTR])
    if not verdict.found:
        raise _why_not(verdict, servers, configuration)
    return verdict.answers[PTR].records[0]


def reverse_name(packed: bytes) -> str:
    """Give the name under which DNS has the name of an address."""
    if len(packed) == 4:
        return ".".join(str(byte) for byte in reversed(packed)) + ".in-addr.arpa"
    return ".".join(reversed(packed.hex())) + ".ip6.arpa"


def is_name(name: str) -> bool:
    """Tell whether DNS can ask for an absolute name, which is given without its final dot."""
    labels = name.split(".")
    return name.isascii() and len(name) <= _LONGEST_NAME and all(1 <= len(label) <= _LONGEST_LABEL for label in labels)


def _search(servers: Servers, name: str, kinds: Sequence[int], settings: Settings) -> Steps[Verdict | None]:
    """Try a name as it is and with the search list, in glibc's order; None if there is nothing to be tried."""
    bare = name.removesuffix(".")
    dots = name.count(".")
    if name.endswith(".") or dots >= settings.ndots:
        as_is = yield from _ask(servers, bare, kinds)
        if as_is is None or name.endswith(".") or _is_last(as_is):
            return as_is
        found = yield from _search_list(servers, bare, kinds, settings.search)
        return found if found and found.is_final else as_is
    searched = yield from _search_list(servers, bare, kinds, settings.search)
    skips_bare = "." in settings.search or (settings.no_tld_query and not dots and searched is not None)
    if searched is not None and (skips_bare or _is_last(searched)):
        return searched
    as_is = yield from _ask(servers, bare, kinds)
    if as_is is None or as_is.is_final or searched is None:
        return as_is or searched
    return searched if searched.exists or searched.silence else as_is


def _search_list(servers: Servers, bare: str, kinds: Sequence[int], search: Iterable[str]) -> Steps[Verdict | None]:
    """Try a name in each domain of the search list; without success give what speaks most for trying it again."""
    best: Verdict | None = None
    for domain in search:
        verdict = yield from _ask(servers, f"{bare}.{domain.strip('.')}".removesuffix("."), kinds)
        if verdict is None:
            continue
        if _is_last(verdict):
            return verdict
        best = max(best or verdict, verdict, key=_hope)
        # A server that says SERVFAIL of one domain may know the next one.
        if verdict.silence == "silent":
            break
    return best


def _hope(verdict: Verdict) -> int:
    return 2 if verdict.exists else 1 if verdict.silence else 0


def _is_last(verdict: Verdict) -> bool:
    """Tell whether to ask on is of no use: there is an answer, or nobody at any server's address."""
    return verdict.is_final or verdict.silence == "nobody"


def _ask(servers: Servers, name: str, kinds: Sequence[int]) -> Steps[Verdict | None]:
    return (yield from servers.ask(name, kinds)) if is_name(name) else None


def _why_not(verdict: Verdict, servers: Servers, configuration: Configuration) -> socket.gaierror:
    if verdict.silence:
        return no_answer(configuration, servers.complaints)
    return gaierror(EAI_NODATA if verdict.exists else EAI_NONAME)
