"""The broker as a service: start, signals, reload, stop."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import structlog
import trio

from ..clients.admission import DESCRIPTORS_BESIDE_CLIENTS
from ..clients.closer import INTERRUPT, Closer
from ..clients.peer import untrusted_uid
from ..config import Config, ConfigError, Limits
from ..config.load import load_config
from ..namespaces.netns import Gate
from ..namespaces.sent import SentNamespaces
from ..requests.audit import Audit
from ..requests.handler import Handler
from ..seal import SealError, install, is_installed, is_writable_by_owner
from ..serving.hub import Hub
from ..serving.intake import Intake
from ..sockets.capabilities import DAC_OVERRIDE, drop_others
from ..sockets.credentials import Credentials
from ..sockets.opener import Opener
from ..sockets.support import probe_kinds
from .listener import ListenError, OwnListener, take_activated
from .log import set_up_log
from .notify import ServiceManager

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

log = structlog.get_logger()


class Service:
    """One broker, from its configuration to its end."""

    def __init__(self, config_path: Path, environment: Mapping[str, str]) -> None:
        """Load the configuration and take the socket.

        Raises:
            ConfigError: with every problem of the configuration.
            ListenError: the socket can't be had.
            SealError: limits can't be enforced.
            OSError: the audit can't be opened, /proc is not mounted, or capabilities can't be dropped.
        """
        self._config_path = config_path
        self._manager = ServiceManager(environment)
        self._config = load_config(config_path)
        set_up_log(self._config.log_level)
        self._audit = Audit(self._config.audit_path)
        self._own: OwnListener | None = None
        listener = take_activated(environment)
        if listener is None:
            self._own = OwnListener(self._config.socket_path, self._config.socket_gid)
            listener = self._own.sock
        # From here on, only what all requests need: the socket may have needed CAP_CHOWN.
        drop_others(*(() if is_writable_by_owner() else (DAC_OVERRIDE,)))
        gate = Gate()
        self._opener = Opener(gate, Credentials(), probe_kinds(self._config.policy))
        self._load_limits(self._config)
        self._handler = Handler(self._config.policy, self._audit, gate, self._opener, SentNamespaces(gate.home_fd))
        signal.signal(INTERRUPT, lambda _number, _frame: None)
        limits = _raise_descriptor_limit(self._config.limits)
        self._hub = Hub(listener, Intake(self._handler, Closer()), limits, untrusted_uid())

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then finish what is in flight."""
        # What comes while it stops goes back to the handlers of before, and shall not cut it short: so they are none.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        with trio.open_signal_receiver(*_SIGNALS) as signals:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._hub.run)
                    log.info("serving", socket=self._socket_name(), grants=len(self._config.policy.grants))
                    self._manager.ready(self._status())
                    async for number in signals:
                        if number != signal.SIGHUP:
                            break
                        self._reload()
                    self._manager.stopping()
                    nursery.cancel_scope.cancel()
                self._hub.finish()
            finally:
                if self._own is not None:
                    self._own.close()
                if self._opener.seal is not None:
                    self._opener.seal.close()
        log.info("stopped")

    def _socket_name(self) -> str:
        return self._config.socket_path if self._own is not None else "of the service manager"

    def _status(self) -> str:
        return f"serving (grants: {len(self._config.policy.grants)})"

    def _reload(self) -> None:
        """Load the configuration anew, whole or not at all."""
        self._manager.reloading()
        file, key = str(self._config_path), ""
        try:
            config = load_config(self._config_path, can_seal=self._opener.seal is not None)
            with ExitStack() as undo:
                file, key = str(config.audit_path), "audit.path"
                audit = Audit(config.audit_path)
                undo.callback(audit.close)
                # Last of what can fail: the limits hold at once, and can't be taken back.
                file, key = str(self._config_path), "limit"
                self._load_limits(config)
                undo.pop_all()
        except ConfigError as error:
            for problem in error.problems:
                log.error("reload failed", file=problem.file, key=problem.key, reason=problem.reason)
        except (OSError, SealError) as error:
            log.error("reload failed", file=file, key=key, reason=str(error))
        else:
            self._use(config, audit)
            log.info("reloaded", grants=len(config.policy.grants))
        self._manager.ready(self._status())

    def _load_limits(self, config: Config) -> None:
        """Have the kernel hold sockets to the limits of this configuration: also those that a former broker gave."""
        directory, needed = Path(config.seal_path), any(grant.limit is not None for grant in config.policy.grants)
        try:
            if self._opener.seal is None and (needed or is_installed(directory)):
                self._opener.seal = install(directory)
            if self._opener.seal is not None:
                self._opener.seal.load_limits(config.policy)
        except SealError as error:
            if needed:
                raise
            log.error("sockets that were limited before keep those limits", reason=str(error))

    def _use(self, config: Config, audit: Audit) -> None:
        if (config.socket_path, config.socket_gid) != (self._config.socket_path, self._config.socket_gid):
            log.warning("another socket is used from the next start on only", key="broker.socket, broker.socket_group")
        if config.seal_path != self._config.seal_path:
            log.warning("another place for limits is used from the next start on only", key="broker.seal")
        set_up_log(config.log_level)
        self._config = config
        self._handler.use(config.policy, audit)
        self._audit.close()
        self._audit = audit
        self._opener.unsupported = probe_kinds(config.policy)
        self._hub.use_limits(_raise_descriptor_limit(config.limits))


def _raise_descriptor_limit(limits: Limits) -> Limits:
    """Use all descriptors that this process may have, and admit no more clients than they suffice for."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    room = limits.clients
    if hard != resource.RLIM_INFINITY:
        room = max(1, hard - DESCRIPTORS_BESIDE_CLIENTS)
    if room < limits.clients:
        log.warning("fewer clients than configured: raise LimitNOFILE", clients=room, configured=limits.clients)
    return replace(limits, clients=min(limits.clients, room))


def serve(config_path: Path) -> int:
    """Run the broker; gives the exit status."""
    if os.geteuid() != 0:
        print("nsbrokerd: it must be started as root: it enters the namespaces for those who can't", file=sys.stderr)
        return 1
    try:
        service = Service(config_path, os.environ)
    except (ConfigError, ListenError, SealError, OSError) as error:
        for line in str(error).splitlines():
            print(f"nsbrokerd: {line}", file=sys.stderr)
        return 1
    # An interrupt must never come between entering a namespace and the way back: only checkpoints see one.
    trio.run(service.run, restrict_keyboard_interrupt_to_checkpoints=True)
    return 0
