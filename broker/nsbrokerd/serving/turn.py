"""A user with its connections, or a chore of the broker: both take turns. `turns` has their order."""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Callable

from ..clients.client import Client, Person

_READABLE = int(select.EPOLLIN)


class Turn:
    """The clients of a user, by their descriptors, and the epoll by which they take turns with each other.

    Attributes:
        account: whose time the turns cost.
        cut: the clients whose requests were cut, and can go on now. They come before the next request of the user.
        muted: the number of clients whose requests were cut. They have no other request served meanwhile.
        held: the clients whose requests wait until fewer requests of the user are cut.
    """

    __slots__ = ("account", "clients", "cut", "epoll", "held", "muted")

    def __init__(self, person: Person) -> None:
        """Make the epoll.

        Raises:
            OSError: no descriptor is left.
        """
        self.epoll = select.epoll()
        self.account = person
        self.clients: dict[int, Client] = {}
        self.cut: deque[Client] = deque()
        self.muted = 0
        self.held: dict[Client, None] = {}

    def next(self) -> list[tuple[Client, int]]:
        """Return the client whose turn it is, with its event.

        The only client of a user is it for certain, which saves a system call. If the broker waits until this client
        has read its replies, or has served its request, it can be here because it hung up, so the event counts.
        """
        if len(self.clients) == 1 and not self.muted:
            [client] = self.clients.values()
            if client.blocked_since is None:
                return [(client, _READABLE)]
        return [(self.clients[fd], event) for fd, event in self.epoll.poll(0, 1)]


class Chore:
    """Work for no user in particular, such as accepting clients. It takes turns with the users."""

    __slots__ = ("account", "do", "used_s")

    def __init__(self, do: Callable[[float], None]) -> None:
        self.do = do
        self.used_s = 0.0
        self.account = self
