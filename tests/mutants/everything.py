"""All guarantees, in the order of the rooms, and their mutants by name."""

from __future__ import annotations

from . import (
    clients,
    containers,
    control,
    guards,
    limits,
    link,
    module,
    names,
    namespaces,
    pods,
    policy,
    programs,
    proxy,
    requests,
    second_wall,
    service,
    setup,
    sockets,
    stock,
    wire,
)
from .guarantee import Guarantee, Mutant

GUARANTEES: tuple[Guarantee, ...] = (
    *service.GUARANTEES,
    *control.GUARANTEES,
    *setup.GUARANTEES,
    *clients.GUARANTEES,
    *requests.GUARANTEES,
    *sockets.GUARANTEES,
    *namespaces.GUARANTEES,
    *pods.GUARANTEES,
    *policy.GUARANTEES,
    *containers.GUARANTEES,
    *limits.GUARANTEES,
    *second_wall.GUARANTEES,
    *wire.GUARANTEES,
    *link.GUARANTEES,
    *stock.GUARANTEES,
    *module.GUARANTEES,
    *names.GUARANTEES,
    *guards.GUARANTEES,
    *programs.GUARANTEES,
    *proxy.GUARANTEES,
)


def named_mutants(guarantees: tuple[Guarantee, ...] = GUARANTEES) -> dict[str, Mutant]:
    """Return each mutant by its name: the guarantee's id, and a number if the guarantee has several."""
    return {
        f"{guarantee.id}.{number}" if len(guarantee.mutants) > 1 else guarantee.id: mutant
        for guarantee in guarantees
        for number, mutant in enumerate(guarantee.mutants, 1)
    }
