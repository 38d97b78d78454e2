"""Options as getopt(3) reads them, without the 3 ms that `getopt` takes to load (it loads gettext, and that `re`)."""

from __future__ import annotations

from .failure import usage_error


def parse(
    args: list[str], known: dict[str, bool], *, anywhere: bool = False
) -> tuple[list[tuple[str, str]], list[str]]:
    """Split arguments into options with their values, and the rest.

    Reads -u, -46, -w5, -w 5, --wait 5, --wait=5, and -- as the end of options.

    Args:
        args: the arguments.
        known: the options, with their dashes, and whether each takes a value.
        anywhere: read options between and after other arguments as well, not just before the first one.

    Raises:
        FailureError: an option is not known, or its value is missing or not wanted.
    """
    options: list[tuple[str, str]] = []
    rest: list[str] = []
    left = args[::-1]
    while left:
        arg = left.pop()
        if arg == "--":
            return options, rest + left[::-1]
        if len(arg) < 2 or not arg.startswith("-"):
            rest.append(arg)
            if not anywhere:
                return options, rest + left[::-1]
        elif arg.startswith("--"):
            name, equals, value = arg.partition("=")
            options.append((name, _long_value(name, equals, value, known, left)))
        else:
            options.append(_short(arg, known, left))
    return options, rest


def _long_value(name: str, equals: str, value: str, known: dict[str, bool], left: list[str]) -> str:
    if name not in known:
        raise usage_error(f"unknown option {name}")
    if not known[name]:
        if equals:
            raise usage_error(f"{name} takes no value")
        return ""
    return value if equals else _next(name, left)


def _short(arg: str, known: dict[str, bool], left: list[str]) -> tuple[str, str]:
    name, joined = arg[:2], arg[2:]
    if name not in known:
        raise usage_error(f"unknown option {name}")
    if known[name]:
        return name, joined or _next(name, left)
    if joined:
        left.append(f"-{joined}")
    return name, ""


def _next(name: str, left: list[str]) -> str:
    if not left:
        raise usage_error(f"{name} needs a value")
    return left.pop()


def whole_number(text: str, most: int) -> int | None:
    """Read a number of 0 to `most`, in digits; None if it is none."""
    # No more digits than that: int() refuses thousands of them with an exception.
    digits = text.lstrip("0") or text[:1]
    if not (text.isascii() and text.isdecimal()) or len(digits) > len(str(most)) or int(digits) > most:
        return None
    return int(digits)


def seconds(name: str, value: str, most: float = 1e6) -> float:
    """Read a number of seconds.

    Raises:
        FailureError: it is none, or out of range.
    """
    try:
        number = float(value)
    except ValueError:
        number = -1
    if not 0 <= number <= most:
        raise usage_error(f"{name} takes seconds, 0 to {most:g}, not {value!r}")
    return number
