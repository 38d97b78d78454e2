"""Code that has the unpatched socket module is recognised."""

from __future__ import annotations

import sys

import pytest

from nsbroker import Namespace
from nsbroker.patching.bypass import PatchError, PatchGuard
from nsbroker.patching.files import NamespaceFiles


def test_module_that_took_the_class_before_is_named() -> None:
    """`from socket import socket` keeps the unpatched class."""

    class Original:
        pass

    module = type(sys)("took_it")
    module.socket = Original  # type: ignore[attr-defined]
    sys.modules["took_it"] = module
    place = Namespace("blue")._place
    files = NamespaceFiles(place)
    try:
        with pytest.raises(PatchError, match="took_it was imported before"):
            PatchGuard(place, files).refuse_taken([Original])
        PatchGuard(place, files, allow=["took_it"]).refuse_taken([Original])
    finally:
        del sys.modules["took_it"]
