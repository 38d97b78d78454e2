"""Raises the limit of this process's descriptors, and fits the quotas to it."""

from __future__ import annotations

import resource
from dataclasses import replace

import structlog

from ..clients.admission import DESCRIPTORS_BESIDE_CLIENTS, DESCRIPTORS_FOR_CLIENT
from ..clients.quotas import Quotas
from .line_quota import ABOUT_NO_CLIENT

log = structlog.get_logger(**{ABOUT_NO_CLIENT: True})


def fit_to_descriptors(quotas: Quotas) -> Quotas:
    """Raise the limit, and return quotas that admit no more clients than it allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    room = quotas.clients
    if hard != resource.RLIM_INFINITY:
        room = max(1, (hard - DESCRIPTORS_BESIDE_CLIENTS) // DESCRIPTORS_FOR_CLIENT)
    if room < quotas.clients:
        log.warning("too few descriptors for all clients; raise LimitNOFILE", clients=room, configured=quotas.clients)
    return replace(quotas, clients=min(quotas.clients, room))
