"""The suites: one module for each, with a `SUITE`. `ALL` lists them."""

from __future__ import annotations

import importlib
import pkgutil

from outside.suite import Suite

ALL: dict[str, Suite] = {
    name: importlib.import_module(f"{__name__}.{name}").SUITE for _, name, _ in pkgutil.iter_modules(__path__)
}
