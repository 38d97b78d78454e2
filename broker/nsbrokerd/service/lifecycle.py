"""The broker from start to end: start, signals, reload, stop."""

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

from ..clients.admission import DESCRIPTORS_BESIDE_CLIENTS, DESCRIPTORS_FOR_CLIENT
from ..clients.closer import INTERRUPT, Closer
from ..clients.quotas import Quotas
from ..config import Config, ConfigError
from ..config.load import load_config
from ..namespaces.netns import Gate
from ..namespaces.sent_descriptors import SentNamespaces
from ..requests.audit import Audit
from ..requests.dispatch import Dispatcher
from ..requests.operation import InForce
from ..seal import Seal, SealError, install, is_installed, is_writable_by_owner
from ..serving.hub import Hub
from ..serving.intake import Intake
from ..serving.tasks import Tasks
from ..sockets.capabilities import DAC_OVERRIDE, drop_others
from ..sockets.credentials import Credentials
from ..sockets.kernel_support import probe_kinds
from ..sockets.opener import Opener
from .line_quota import ABOUT_NO_CLIENT
from .listener import ListenError, OwnListener
from .log import line_quota, set_up_log
from .service_manager import ServiceManager, take_activated

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_REPORT_S = 1.0

log = structlog.get_logger(**{ABOUT_NO_CLIENT: True})


class Service:
    """One broker, from its configuration to its end."""

    def __init__(self, config_path: Path, environment: Mapping[str, str]) -> None:
        """Load the configuration and take the socket.

        Raises:
            ConfigError: with every problem of the configuration.
            ListenError: the broker can't listen on its socket.
            SealError: limits can't be enforced.
            OSError: the audit can't be opened, /proc is not mounted, or capabilities can't be dropped.
        """
        self._config_path = config_path
        self._manager = ServiceManager(environment)
        self._config = load_config(config_path)
        set_up_log(self._config.log_level)
        audit = Audit(self._config.audit_path)
        self._own: OwnListener | None = None
        listener = take_activated(environment)
        if listener is None:
            self._own = OwnListener(self._config.socket_path, self._config.socket_gid)
            listener = self._own.sock
        self._listener = listener
        # From here on, only the capabilities that all requests need: the listener may have needed CAP_CHOWN.
        drop_others(*(() if is_writable_by_owner() else (DAC_OVERRIDE,)))
        self._gate = Gate()
        self._credentials = Credentials()
        self._sent = SentNamespaces(self._gate.home_fd)
        self._seal: Seal | None = None
        self._load_limits(self._config)
        self._in_force = InForce(self._config.policy, self._new_opener(self._config), audit)
        self._quotas = _fit_to_descriptors(self._config.quotas)
        signal.signal(INTERRUPT, lambda _number, _frame: None)

    def _new_opener(self, config: Config) -> Opener:
        return Opener(self._gate, self._credentials, probe_kinds(config.policy), self._seal)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then finish the requests in progress."""
        # After trio's receiver has ended, a signal goes to the handler that was set before. It must not end the
        # broker while it stops, so that handler ignores it.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        with trio.open_signal_receiver(*_SIGNALS) as signals:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            try:
                async with trio.open_nursery() as nursery:
                    hub = self._new_hub(nursery)
                    nursery.start_soon(hub.run)
                    nursery.start_soon(_report_lines)
                    name = "of the service manager" if self._own is None else self._config.socket_path
                    log.info("serving", socket=name, grants=len(self._config.policy.grants))
                    self._manager.ready(len(self._config.policy.grants))
                    async for number in signals:
                        if number != signal.SIGHUP:
                            break
                        self._reload(hub)
                    self._manager.stopping()
                    nursery.cancel_scope.cancel()
                hub.finish()
                line_quota.report()
            finally:
                if self._own is not None:
                    self._own.close()
                if self._seal is not None:
                    self._seal.close()
        log.info("stopped")

    def _new_hub(self, nursery: trio.Nursery) -> Hub:
        closer, dispatcher = Closer(), Dispatcher(self._in_force, self._gate, self._sent)
        intake = Intake(dispatcher, Tasks(dispatcher, nursery), closer, self._sent)
        return Hub(self._listener, intake, closer, self._quotas)

    def _reload(self, hub: Hub) -> None:
        """Load the configuration again: as a whole, or not at all."""
        self._manager.reloading()
        file, key = str(self._config_path), ""
        try:
            config = load_config(self._config_path, can_seal=self._seal is not None)
            with ExitStack() as undo:
                file, key = str(config.audit_path), "audit.path"
                audit = Audit(config.audit_path)
                undo.callback(audit.close)
                # The last step that can fail: the kernel enforces new limits at once, and they can't be taken back.
                file, key = str(self._config_path), "limit"
                self._load_limits(config)
                undo.pop_all()
        except ConfigError as error:
            for problem in error.problems:
                log.error("reload failed", file=problem.file, key=problem.key, reason=problem.reason)
        except (OSError, SealError) as error:
            log.error("reload failed", file=file, key=key, reason=str(error))
        else:
            self._use(config, audit, hub)
            log.info("reloaded", grants=len(config.policy.grants))
        self._manager.ready(len(self._config.policy.grants))

    def _load_limits(self, config: Config) -> None:
        """Make the kernel enforce the limits of this configuration, also for sockets that an earlier broker made."""
        directory, needed = Path(config.seal_path), any(grant.limit is not None for grant in config.policy.grants)
        try:
            if self._seal is None and (needed or is_installed(directory)):
                self._seal = install(directory)
            if self._seal is not None:
                self._seal.load_limits(config.policy)
        except SealError as error:
            if needed:
                raise
            log.error("the new limits can't be loaded; existing sockets keep their limits", reason=str(error))

    def _use(self, config: Config, audit: Audit, hub: Hub) -> None:
        if (config.socket_path, config.socket_gid) != (self._config.socket_path, self._config.socket_gid):
            log.warning("restart the broker to apply a changed key", key="broker.socket, broker.socket_group")
        if config.seal_path != self._config.seal_path:
            log.warning("restart the broker to apply a changed key", key="broker.seal")
        set_up_log(config.log_level)
        self._config = config
        former_audit = self._in_force.audit
        self._in_force.replace(config.policy, self._new_opener(config), audit)
        former_audit.close()
        hub.use(_fit_to_descriptors(config.quotas))


async def _report_lines() -> None:
    """Log the number of lines that were left out, each second."""
    while True:
        await trio.sleep(_REPORT_S)
        line_quota.report()


def _fit_to_descriptors(quotas: Quotas) -> Quotas:
    """Raise this process's limit of descriptors, and return quotas that admit no more clients than it allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    room = quotas.clients
    if hard != resource.RLIM_INFINITY:
        room = max(1, (hard - DESCRIPTORS_BESIDE_CLIENTS) // DESCRIPTORS_FOR_CLIENT)
    if room < quotas.clients:
        log.warning("too few descriptors for all clients; raise LimitNOFILE", clients=room, configured=quotas.clients)
    return replace(quotas, clients=min(quotas.clients, room))


def serve(config_path: Path) -> int:
    """Run the broker, and return its exit status."""
    if os.geteuid() != 0:
        print("nsbrokerd: only root can enter network namespaces; start nsbrokerd as root", file=sys.stderr)
        return 1
    try:
        service = Service(config_path, os.environ)
    except (ConfigError, ListenError, SealError, OSError) as error:
        for line in str(error).splitlines():
            print(f"nsbrokerd: {line}", file=sys.stderr)
        return 1
    # An interrupt between entering a namespace and the way back would be fatal, so only checkpoints raise it.
    trio.run(service.run, restrict_keyboard_interrupt_to_checkpoints=True)
    return 0
