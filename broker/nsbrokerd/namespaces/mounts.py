"""Notices mounts: a named namespace exists from the moment that it is mounted."""

from __future__ import annotations

import os
import select


class MountChanges:
    """Watches for mounts in this process's mount namespace.

    `fd` becomes readable when a mount happens. Source: proc_pid_mountinfo(5).
    """

    def __init__(self) -> None:
        """Begin the watch.

        Raises:
            OSError: /proc is not mounted, or no descriptor is left.
        """
        self._epoll = select.epoll()
        try:
            self._mounts = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._epoll.close()
            raise
        self._epoll.register(self._mounts, select.EPOLLPRI)
        self.fd = self._epoll.fileno()
        self.happened()

    def happened(self) -> bool:
        """Return whether a mount happened since the last call."""
        return bool(self._epoll.poll(0))

    def close(self) -> None:
        """End the watch."""
        self._epoll.close()
        os.close(self._mounts)
