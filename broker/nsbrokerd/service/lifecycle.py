"""The broker from start to end: start, signals, reload, stop."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import structlog
import trio

from ..clients.closer import Closer
from ..clients.persons import Persons
from ..clients.porters import Porters
from ..config import Config, ConfigError, Problem
from ..config.delegation_files import DelegationFiles
from ..config.load import load_config
from ..config.places import expect_places, why_no_control
from ..control.server import ControlServer
from ..namespaces.file_identity import identify
from ..namespaces.later_names import has_hosts_pids, why_later_names_are_hidden
from ..namespaces.netns import Gate
from ..namespaces.sent_descriptors import SentNamespaces
from ..policy.naming import Naming, naming
from ..requests.audit import Audit
from ..requests.dispatch import Dispatcher
from ..requests.operation import InForce
from ..seal import Seal, SealError, install, is_installed, is_writable_by_owner, why_short_lived
from ..serving.hub import Hub
from ..serving.intake import Intake
from ..serving.tasks import Tasks
from ..sockets.capabilities import DAC_OVERRIDE, drop_others
from ..sockets.credentials import Credentials
from ..sockets.kernel_support import probe_kinds
from ..sockets.opener import Opener
from ..sockets.slow_binds import SlowBinds
from .audit_file import open_audit
from .descriptors import fit_to_descriptors
from .line_quota import ABOUT_NO_CLIENT
from .listener import ListenError, OwnListener
from .log import line_quota, set_up_log
from .service_manager import ServiceManager, take_activated, watchdog_s
from .state import State
from .status import Control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..requests.container_finder import ContainerFinder

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)

_REPORT_S = 1.0

_RELOAD, _AUDIT, _CONTROL = "the last reload", "the audit", "the control socket"
_NAMES, _LIMITS = "the names of namespaces", "the limits"
"""Places of faults."""

log = structlog.get_logger(**{ABOUT_NO_CLIENT: True})


class Service:
    """One broker, from its configuration to its end."""

    def __init__(self, config_path: Path, environment: Mapping[str, str]) -> None:
        """Load the configuration and take the socket.

        Raises:
            ConfigError: with every problem of the configuration.
            ListenError: the broker can't listen on its socket.
            SealError: limits can't be enforced.
            OSError: /proc is not mounted, or capabilities can't be dropped.
        """
        self._config_path = config_path
        self._manager = ServiceManager(environment)
        self._watchdog_s = watchdog_s(environment)
        self._state = State(self._manager.show)
        self._config = load_config(config_path)
        activated = take_activated(environment, self._config.control_path)
        expect_places(config_path, self._config, needs_socket=activated is None)
        set_up_log(self._config.log_level)
        _warn(self._config)
        self._state.note(_NAMES, why_later_names_are_hidden())
        if not has_hosts_pids():
            log.info("clients outside of the broker's pid namespace have no pid in the audit")
        audit = open_audit(config_path, self._config)
        self._own: list[OwnListener] = []
        if activated is None:
            self._own.append(OwnListener(self._config.socket_path, self._config.socket_gid))
        self._is_activated = activated is not None
        self._listener = self._own[0].sock if activated is None else activated.listener
        self._control = (activated and activated.control) or self._own_control()
        # Before the seal, because a porter that hangs must not be in the seal's control group.
        porters = Porters()
        porters.start()
        self._closer = Closer(porters)
        # From here on, only the capabilities that all requests need: the listener may have needed CAP_CHOWN.
        drop_others(*(() if is_writable_by_owner() else (DAC_OVERRIDE,)))
        self._gate = Gate()
        self._credentials = Credentials()
        self._slow = SlowBinds(self._credentials)
        self._sent = SentNamespaces(self._gate.home_fd)
        self._seal: Seal | None = None
        self._short_lived: str | None = None
        self._load_limits(self._config)
        finder = self._new_finder(self._config)
        self._in_force = InForce(self._config.policy, self._new_opener(self._config), audit, finder)
        self._quotas = fit_to_descriptors(self._config.quotas)
        self._persons = Persons(self._quotas, DelegationFiles(), _naming(self._config))

    def _own_control(self) -> socket.socket | None:
        """Return a control socket for root alone. Without one, the broker still serves."""
        try:
            if reason := why_no_control(self._config):
                raise ListenError(reason)
            own = OwnListener(self._config.control_path, None)
        except ListenError as error:
            self._state.note(_CONTROL, str(error))
            return None
        self._own.append(own)
        return own.sock

    def _new_opener(self, config: Config) -> Opener:
        return Opener(self._gate, self._credentials, probe_kinds(config.policy), self._seal, self._slow, self._closer)

    def _new_finder(self, config: Config) -> ContainerFinder | None:
        """Return the object that asks the engines of a configuration. Its modules load only if there are some."""
        if not config.engines:
            return None
        from ..namespaces.engines import Engines
        from ..requests.container_finder import ContainerFinder

        sockets = {engine: Path(path) for engine, path in config.engines.items()}
        return ContainerFinder(Engines(sockets, identify(self._gate.home_fd)), sockets)

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
                    nursery.start_soon(self._report)
                    nursery.start_soon(self._give_signs_of_life)
                    if self._control is not None:
                        nursery.start_soon(self._new_control(self._control, hub).run)
                    name = "of the service manager" if self._is_activated else self._config.socket_path
                    gc.freeze()  # the objects of the start stay, and looking at all of them takes a collection 20 ms
                    log.info("serving", socket=name, grants=len(self._config.policy.grants))
                    self._state.serve(len(self._config.policy.grants))
                    self._manager.ready(str(self._state))
                    async for number in signals:
                        if number == signal.SIGHUP:
                            self._reload(hub)
                        elif number == signal.SIGUSR1:
                            self._reopen_audit()
                        else:
                            break
                    self._manager.stopping()
                    nursery.cancel_scope.cancel()
                hub.finish()
                self._closer.finish()
                line_quota.report()
            finally:
                for own in self._own:
                    own.close()
                if self._seal is not None:
                    self._seal.close()
        log.info("stopped")

    def _new_hub(self, nursery: trio.Nursery) -> Hub:
        self._dispatcher = dispatcher = Dispatcher(self._in_force, self._gate, self._sent)
        self._tasks = tasks = Tasks(dispatcher, nursery)
        intake = Intake(dispatcher, tasks, self._closer)
        hub = Hub(self._listener, intake, self._closer, self._quotas, self._persons)
        tasks.charge = hub.charge
        tasks.reply_timeout_s = lambda: self._persons.quotas.reply_timeout_s
        dispatcher.time_slice.is_awaited = hub.is_awaited
        return hub

    def _new_control(self, listener: socket.socket, hub: Hub) -> ControlServer:
        parts = self._persons, self._dispatcher, self._tasks, self._in_force
        control = Control(self._config_path, self._state, parts, lambda: self._reload(hub), self._describe_walls)
        return ControlServer(listener, self._persons, self._closer, control)

    def _describe_walls(self) -> str | None:
        if self._seal is None:
            return None
        walls = "both" if self._seal.why_alone is None else f"only the first: {self._seal.why_alone}"
        if self._seal.why_not_swept is not None:
            walls += f"; a reload does not reach connected sockets: {self._seal.why_not_swept}"
        return walls

    def _reload(self, hub: Hub) -> Sequence[Problem]:
        """Load the configuration again: as a whole, or not at all. Return all problems because of which it failed."""
        self._manager.reloading()
        problems = self._try_reload(hub)
        if problems:
            self._state.note(_RELOAD, f"failed, so the former policy is in force: {problems[0]}")
        else:
            log.info("reloaded", grants=len(self._config.policy.grants))
            self._state.serve(len(self._config.policy.grants))
            self._state.note(_RELOAD, None)
        self._state.reloaded(str(problems[0]) if problems else None)
        self._manager.ready(str(self._state))
        return problems

    def _try_reload(self, hub: Hub) -> Sequence[Problem]:
        """Load the configuration. Return all problems, which are in the log, too."""
        try:
            config = load_config(self._config_path, can_seal=self._seal is not None)
            expect_places(self._config_path, config, needs_socket=False)
            with ExitStack() as undo:
                audit = open_audit(self._config_path, config)
                undo.callback(audit.close)
                # The last step that can fail: the kernel enforces new limits at once, also for sockets in use.
                self._load_limits(config)
                undo.pop_all()
        except ConfigError as error:
            problems = error.problems
        except (OSError, SealError) as error:
            problems = (Problem(str(self._config_path), "limit", str(error)),)
        else:
            self._use(config, audit, hub)
            return ()
        for problem in problems:
            log.error("reload failed", file=problem.file, line=problem.line, key=problem.key, reason=problem.reason)
        return problems

    def _reopen_audit(self) -> None:
        """Open the audit's file anew, after a log rotation. If that fails, go on with the former file."""
        try:
            audit = open_audit(self._config_path, self._config)
        except ConfigError as error:
            log.error("can't open the audit anew, so it goes on in the former file", reason=str(error))
            return
        former, self._in_force.audit = self._in_force.audit, audit
        former.close()
        log.info("opened the audit anew")

    async def _report(self) -> None:
        """Each second, log the number of lines that were left out, and faults of the audit, and tidy the seal."""
        while True:
            await trio.sleep(_REPORT_S)
            line_quota.report()
            fault = self._in_force.audit.fault
            told = fault and f"can't be written, so the broker hands out nothing: {fault}"
            self._state.note(_AUDIT, told)
            if self._seal is not None:
                self._seal.tidy()

    async def _give_signs_of_life(self) -> None:
        """Tell the service manager's watchdog that the loop runs, twice as often as it asks for."""
        while self._watchdog_s is not None:
            self._manager.alive()
            await trio.sleep(self._watchdog_s / 2)

    def _load_limits(self, config: Config) -> None:
        """Make the kernel enforce the limits of this configuration, also for sockets that an earlier broker made.

        A broker without the seal has no limits of its own in force. If its new configuration has none either, limits of
        an earlier broker that can't be replaced are a fault, and not a reason to refuse the configuration.

        Raises:
            SealError: the limits can't be loaded.
        """
        directory, needed = Path(config.seal_path), any(grant.limit is not None for grant in config.policy.grants)
        is_new = self._seal is None
        try:
            if self._seal is None and (needed or is_installed(directory)):
                self._short_lived = why_short_lived(directory)
                self._seal = install(directory)
            if self._seal is not None:
                self._seal.load_limits(config.policy)
                if self._seal.why_alone is not None:
                    log.warning(
                        "only the first wall holds: see which promises need the second one, in limits.md",
                        reason=self._seal.why_alone,
                    )
                if self._seal.why_not_swept is not None:
                    log.warning(
                        "new limits do not reach connected sockets: this kernel refuses programs that look at them",
                        reason=self._seal.why_not_swept,
                    )
        except SealError as error:
            if needed or not is_new:
                raise
            self._state.note(_LIMITS, f"sockets of an earlier broker keep theirs: {error}")
        else:
            self._state.note(_LIMITS, self._short_lived)

    def _use(self, config: Config, audit: Audit, hub: Hub) -> None:
        if (config.socket_path, config.socket_gid) != (self._config.socket_path, self._config.socket_gid):
            log.warning("restart the broker to apply a changed key", key="broker.socket, broker.socket_group")
        for key, new, former in (
            ("seal", config.seal_path, self._config.seal_path),
            ("control", config.control_path, self._config.control_path),
        ):
            if new != former:
                log.warning("restart the broker to apply a changed key", key=f"broker.{key}")
        set_up_log(config.log_level)
        _warn(config)
        former_audit = self._in_force.audit
        finder = self._in_force.finder
        if config.engines != self._config.engines:
            finder = self._new_finder(config)
        self._config = config
        self._in_force.replace(config.policy, self._new_opener(config), audit, finder)
        former_audit.close()
        hub.use(fit_to_descriptors(config.quotas))
        self._persons.use_naming(_naming(config))


def _naming(config: Config) -> Naming:
    return naming(config.policy.grants, config.socket_gid)


def _warn(config: Config) -> None:
    """Log the parts of the configuration that were left out."""
    for problem in config.warnings:
        log.warning("left out", file=problem.file, line=problem.line, key=problem.key, reason=problem.reason)


def _end_at_once(number: int, _frame: object) -> None:
    sys.exit(128 + number)


def serve(config_path: Path) -> int:
    """Run the broker, and return its exit status."""
    if os.getpid() == 1:
        # The first process of a container gets only signals that it handles. `run` has handlers of its own.
        signal.signal(signal.SIGTERM, _end_at_once)
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
