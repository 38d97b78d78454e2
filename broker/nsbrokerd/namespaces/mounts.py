"""Notices mounts: a named namespace exists from the moment that it is mounted, and no sooner."""

from __future__ import annotations

import os
import select


class MountChanges:
    """Tells whether something was mounted since it was asked last, in this process's mount namespace.

    `fd` can be waited for: it is readable when there was. Source: proc_pid_mountinfo(5).
    """

    def __init__(self) -> None:
        """Begin to watch.

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
        """Tell, and begin anew."""
        return bool(self._epoll.poll(0))

    def close(self) -> None:
        """End the watch."""
        self._epoll.close()
        os.close(self._mounts)
