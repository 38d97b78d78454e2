"""Gets this process ready for children of other users: they may not be able to read the checkout."""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import resource

import nsbroker


def load_everything() -> None:
    """Import all of the library, and raise the limit of descriptors as far as it goes."""
    for module in pkgutil.walk_packages(nsbroker.__path__, "nsbroker."):
        if "adapters" not in module.name and "__main__" not in module.name:
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)
    raise_descriptor_limit()


def raise_descriptor_limit() -> None:
    """Let this process and its children have as many descriptors as the machine allows them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
