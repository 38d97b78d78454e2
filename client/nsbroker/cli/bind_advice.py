"""What to do when the kernel refuses to bind a socket. Pure; loaded when one is refused."""

from __future__ import annotations

import errno

from .failure import REFUSED, FailureError

_ADVICE = {
    errno.EADDRINUSE: "another socket of the namespace has it; end its program, or choose another port or name",
    errno.EADDRNOTAVAIL: "no interface of the namespace has it; give it to one, or leave the address out",
    errno.EACCES: "the namespace keeps ports this low to itself; a grant of the policy needs it in its bind list",
    errno.EPROTONOSUPPORT: "this kernel can't do that protocol; load its module, or use another one",
    errno.EAFNOSUPPORT: "this kernel can't do that kind of address; use IPv4",
    errno.ENODEV: "the namespace has no such interface",
}


def at_address(error: OSError, options: list[str]) -> OSError | FailureError:
    """Give the failure that names the option whose address the kernel refused; other errors pass unchanged."""
    index: int | None = getattr(error, "index", None)
    if index is None or type(error).__module__ != "builtins":
        return error
    advice = _ADVICE.get(error.errno or 0)
    return FailureError(f"{options[index]}: {error.strerror}{(advice and f': {advice}') or ''}", REFUSED)
