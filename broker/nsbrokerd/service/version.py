"""The version of the installed package."""

from __future__ import annotations


def version() -> str:
    """Return the version."""
    # Not needed before: the import takes some milliseconds.
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    try:
        return version_of("nsbroker")
    except PackageNotFoundError:
        return "(not installed)"
