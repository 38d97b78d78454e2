"""What to do when the kernel refuses a listener. Pure; loaded when one is refused."""

from __future__ import annotations

import errno

from .failure import REFUSED, FailureError

_ADVICE = {
    errno.EADDRINUSE: "another socket of the namespace has it; end its program, or choose another port or name",
    errno.EADDRNOTAVAIL: "no interface of the namespace has it; give it to one, or leave the address out",
    errno.EACCES: "the namespace keeps ports this low to itself; a grant of the policy needs it in its bind list",
    errno.EPROTONOSUPPORT: "this kernel can't do that protocol; load its module, or use another one",
    errno.EAFNOSUPPORT: "this kernel can't do that kind of address; use IPv4",
    errno.ENODEV: "the namespace has no interface of that number",
}


def at_address(error: OSError, addresses: list[str]) -> OSError | FailureError:
    """Give the failure that names the address where the kernel refused one; other errors pass unchanged."""
    index: int | None = getattr(error, "index", None)
    if index is None or type(error).__module__ != "builtins":
        return error
    advice = _ADVICE.get(error.errno or 0)
    return FailureError(f"-l {addresses[index]}: {error.strerror}{(advice and f': {advice}') or ''}", REFUSED)
