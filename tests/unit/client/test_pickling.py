"""A `Namespace` in another process means the same namespace, or it can't get there."""

from __future__ import annotations

import copy
import pickle

import pytest

from nsbroker import Client, Namespace


def test_pickled_namespace_has_the_same_arguments() -> None:
    client = Client("/run/other.sock", timeout=3)
    original = Namespace("blue", client=client, wait=2, mark=16, transparent=True)
    again = pickle.loads(pickle.dumps(original))
    assert again._place.namespace == "blue"
    assert (again._place._broker.path, again._place._broker.timeout_s) == ("/run/other.sock", 3)
    assert again._arguments == original._arguments
    assert again._arguments["wait"] == 2
    assert again._place.spec(2, 1) == original._place.spec(2, 1)


def test_copy_is_the_same_object() -> None:
    """Also of a descriptor, which stays in this process."""
    for namespace in (Namespace("blue"), Namespace(0)):
        assert copy.copy(namespace) is copy.deepcopy(namespace) is namespace


def test_descriptor_can_not_be_pickled() -> None:
    """Its number could be another namespace in another process."""
    with pytest.raises(TypeError, match="a Namespace of a descriptor can't be pickled: use the namespace's name or pa"):
        pickle.dumps(Namespace(0))
