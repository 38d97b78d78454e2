"""All attacks, in the order of the table."""

from __future__ import annotations

from .attack import Attack
from .programs.bind_walk import BIND_WALK
from .programs.connect_and_close import CONNECT_AND_CLOSE
from .programs.failing_packet_sockets import FAILING_PACKET_SOCKETS
from .programs.flipped_links import FLIPPED_LINKS
from .programs.garbage import GARBAGE
from .programs.idle_connections import IDLE_CONNECTIONS, IDLE_CONNECTIONS_OF_MANY
from .programs.large_files import HELD_ANSWERS, READ_LARGE_FILES
from .programs.listeners import LISTENERS
from .programs.long_records import LONG_RECORDS
from .programs.slow_closes import SLOW_CLOSES
from .programs.turned_away import TURNED_AWAY
from .programs.waiting_requests import WAITING_REQUESTS, WAITING_REQUESTS_OF_MANY

ATTACKS: tuple[Attack, ...] = (
    BIND_WALK,
    CONNECT_AND_CLOSE,
    GARBAGE,
    LISTENERS,
    FAILING_PACKET_SOCKETS,
    READ_LARGE_FILES,
    SLOW_CLOSES,
    IDLE_CONNECTIONS,
    IDLE_CONNECTIONS_OF_MANY,
    WAITING_REQUESTS,
    WAITING_REQUESTS_OF_MANY,
    LONG_RECORDS,
    TURNED_AWAY,
    HELD_ANSWERS,
    FLIPPED_LINKS,
)
