"""The seal of a running broker: puts limits into force, and seals sockets."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from ..namespaces.netns import Gate
from ..policy import Policy
from ..policy.limit import NEED_SECOND_WALL
from .aborting import Aborter
from .background import Background
from .live import sweep, why_not_listed
from .maps import SealMaps
from .needed import (
    FOR_EACH_PACKET,
    MAKES_SOCKETS,
    hooks_for_change,
    is_udplite,
    needed_hooks,
    open_associations,
    stopped_parents,
)
from .thread import SealedThread, SealedVisits
from .wall import (
    WallError,
    build,
    detach_removed,
    remove_packet_hooks,
    remove_superfluous,
    standing_hooks,
    why_no_second_wall,
)
from .writing import Entries, NewSocket, former_limits, load_limits

T = TypeVar("T")

_SOCK_RAW, _ICMP = int(socket.SOCK_RAW), int(socket.IPPROTO_ICMP)
_SOL_IP, _IP_OPTIONS = 0, 4

_LOOK_AGAIN_S = 60
_CALLS_END_S = 50
"""After this time, almost all calls have ended that were checked before a socket was stopped. See also `_look`."""

_libc = ctypes.PyDLL(None, use_errno=True)


class SealError(Exception):
    """This host can't enforce limits. The message has the cause."""


class UnsealedError(Exception):
    """A socket that must be sealed is not. This breaks an invariant of the broker."""


class Seal:
    """The seal of a running broker. Use it in the main thread only."""

    def __init__(self, directory: Path, maps: SealMaps, thread: SealedThread | SealedVisits, parts: ExitStack) -> None:
        """Use the maps and the thread. Take ownership of `parts`, which closes them and everything that they need."""
        self._directory = directory
        self._maps = maps
        self._is_tried = False
        self._why_no_second_wall: str | None = None
        self._own: set[str] = set()  # hooks that this broker has attached, and has not removed
        self._untidy_kinds: set[str] | None = None
        self._next_look_s = 0.0
        self.why_alone: str | None = None
        """The reason why the first wall holds alone, or None if the second one stands or is not needed."""
        self.why_not_swept: str | None = None
        """The reason why new limits do not reach connected sockets, or None if they do."""
        self._entries = Entries(maps.sockets)
        self._aborter = Aborter(maps)
        self._detacher = Background("detach", lambda: detach_removed(directory))
        self._thread = thread
        self._parts = parts

    def load_limits(self, policy: Policy) -> None:
        """Replace the limits of all grants at once, also for sockets that were handed out before.

        A socket whose grant has lost its limit can go anywhere. A socket whose grant is gone is cut off. See
        `why_not_swept` for connected sockets.

        Raises:
            SealError: the kernel refuses them, or can't apply them to sockets in use, or refuses programs without
                which it could not cut off a socket in use. The former limits stay, or the message says what holds.
        """
        kinds = limited_kinds(policy)
        standing = self._standing(unknown={MAKES_SOCKETS})
        self._build_second_wall(hooks_for_change(self._maps, kinds, standing))
        if self.why_alone is not None and (unheld := kinds & NEED_SECOND_WALL):
            raise SealError(f"can't limit {', '.join(sorted(unheld))} sockets: {self.why_alone}")
        try:
            self.why_not_swept = why_not_listed()
            with former_limits(self._maps) as put_back:
                load_limits(self._maps, policy)
                if self.why_not_swept is None:
                    self._sweep(put_back)
        except OSError as error:
            raise SealError(f"can't load the limits, so the former ones stay: {_told(error)}") from error
        with contextlib.suppress(OSError):  # then the thread finds out
            self._aborter.forget_others(stopped_parents(self._maps))
        self._remove_superfluous(kinds)
        self._abort_associations()
        self._detacher.start()

    def tidy(self) -> None:
        """Remove programs that nothing needs any more. Call this each second.

        It tries again if `nsbrokerd revoke` was at work when the limits were loaded. Once a minute, it attaches or
        removes the programs for each packet, as needed.
        """
        if self._untidy_kinds is not None:
            self._remove_superfluous(self._untidy_kinds)
            self._detacher.start()
        if time.monotonic() >= self._next_look_s:
            self._next_look_s = time.monotonic() + _LOOK_AGAIN_S
            with contextlib.suppress(OSError, WallError):  # then what stands stays until the next look
                self._look()
            self._abort_associations()
            self._detacher.start()

    def _look(self) -> None:
        """Remove the programs for each packet if nothing needs them any more, or attach them if a socket does.

        Raises:
            OSError: this kernel can't list sockets.
            WallError: the kernel refuses a program.
        """
        standing = standing_hooks(self._directory)
        if standing & FOR_EACH_PACKET:
            remove_packet_hooks(self._directory, self._maps, self._ended())
            self._own &= standing_hooks(self._directory)
        elif MAKES_SOCKETS in standing and open_associations(self._maps):
            # A call that was checked before the socket was stopped has taken longer than _LOOK_AGAIN_S.
            self._build(set(FOR_EACH_PACKET))

    def _ended(self) -> frozenset[int]:
        """Return the stopped parents that have no association, and get none any more."""
        return self._aborter.ended_before(time.monotonic() - _CALLS_END_S)

    def _abort_associations(self) -> None:
        """Start to abort the associations of stopped sockets."""
        if MAKES_SOCKETS in self._standing(unknown={MAKES_SOCKETS}):
            self._aborter.start()

    def _remove_superfluous(self, kinds: set[str]) -> None:
        self._untidy_kinds = None
        own, self._own = self._own, set()
        with contextlib.suppress(OSError):  # then they stay until the next reload
            if not remove_superfluous(self._directory, lambda: needed_hooks(self._maps, kinds, self._ended())):
                self._untidy_kinds = kinds
        with contextlib.suppress(OSError):  # then all programs are attached anew before a socket needs them
            self._own = own & standing_hooks(self._directory)

    def _sweep(self, put_back: Callable[[], None]) -> None:
        """Apply the limits in force to sockets in use. If that fails, put the former limits back.

        The first sweep can have cut off some sockets. So the former limits are applied by a sweep of their own.

        Raises:
            SealError: the new limits can't be applied. The message says what holds.
        """
        try:
            sweep(self._maps)
        except OSError as error:
            self._aborter.forget_others(frozenset())  # it may have let some go on for a while
            raise SealError(
                f"can't apply the limits to sockets in use: {_told(error)}; {self._go_back(put_back)}"
            ) from error

    def _go_back(self, put_back: Callable[[], None]) -> str:
        """Put the former limits back. Return what holds now."""
        try:
            put_back()
        except OSError as error:
            return f"the former ones can't be put back ({_told(error)}), so new calls have the new ones: reload again"
        try:
            sweep(self._maps)
        except OSError:
            return "what was in force before is in force again, but can leave sockets in use cut off: reload again"
        return "what was in force before is in force again: reload again later"

    def _standing(self, unknown: set[str]) -> set[str]:
        """Return the hooks that stand, or `unknown` if that can't be found out now."""
        try:
            return standing_hooks(self._directory)
        except OSError:
            return unknown

    def _build_second_wall(self, hooks: set[str]) -> None:
        """Attach the programs that must stand, and are missing.

        Raises:
            SealError: a program is missing without which a socket in use could not be cut off.
        """
        if not hooks:
            return
        try:
            if not self._is_tried:
                self.why_alone = self._why_no_second_wall = why_no_second_wall()
                self._is_tried = True
            if self._why_no_second_wall is not None:
                return
            self._build(hooks)
            self.why_alone = None
        except WallError as error:
            self.why_alone = str(error)
            if missing := hooks & FOR_EACH_PACKET - standing_hooks(self._directory):
                failure = f"sockets in use could not be cut off without {', '.join(sorted(missing))}"
                raise SealError(f"{failure}, so the former limits stay: {error}") from error

    def _build(self, hooks: set[str]) -> None:
        """Attach missing programs. Replace those that this broker has not attached: another version may have done it.

        Raises:
            WallError: the kernel refuses a program.
        """
        build(self._directory, self._maps, hooks - self._own, anew=True)
        build(self._directory, self._maps, hooks & self._own, anew=False)
        self._own |= hooks

    def call(self, function: Callable[[Gate], T]) -> T:
        """Call a short function where sockets are sealed, with the gate of the thread that it is called in."""
        return self._thread.call(lambda: function(self._thread.gate))

    def put_on(self, socks: Sequence[NewSocket], uid: int) -> None:
        """Write the entries of sockets that one `call` has made. Without its entry, a socket is cut off.

        Raises:
            UnsealedError: they were not made in the sealed group.
            OSError: the kernel has no memory for an entry.
        """
        # The last socket proves all: if the thread was moved to another group, it was moved before this socket. It has
        # no entry yet, so only the first wall refuses it the option.
        prove_sealed(socks[-1][0])
        self._entries.put(socks, time.time_ns(), uid)
        for sock, *_ in socks:
            _turn_off_copies(sock)

    def close(self) -> None:
        """End the threads, except one that detaches programs. All sockets keep their limits."""
        self._aborter.close()
        # A control group that is still in use stays.
        with contextlib.suppress(OSError):
            self._parts.close()


def limited_kinds(policy: Policy) -> set[str]:
    """Return the kinds of sockets that a policy limits."""
    return {kind for grant in policy.grants if grant.limit is not None for kind in grant.kinds}


def _told(error: OSError) -> str:
    return str(error.strerror or error)


def prove_sealed(sock: socket.SocketType) -> None:
    """Prove that the programs run for a socket: only they refuse this option with EPERM."""
    # By ctypes: the call fails each time, and an exception would take longer than the call.
    if _libc.setsockopt(sock.fileno(), _SOL_IP, _IP_OPTIONS, None, 0) == 0 or ctypes.get_errno() != errno.EPERM:
        raise UnsealedError(
            "a socket was made outside the sealed control group, so its limits would not hold: "
            "do not move the broker's threads to other control groups"
        )


def _turn_off_copies(sock: socket.SocketType) -> None:
    """Turn off copies of multicasts for the sender's namespace, if only the packet program checks this socket."""
    is_lite = is_udplite((sock.family, sock.type, sock.proto))
    if is_lite or (sock.family == socket.AF_INET and (sock.type == _SOCK_RAW or sock.proto == _ICMP)):
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
    if is_lite and sock.family == socket.AF_INET6:
        # It also decides about IPv4: see programs.options.
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
