"""The verb `NS run -- CMD`, or `NS -- CMD`: runs an unmodified program whose network sockets are all made in NS."""

from __future__ import annotations

import errno
import os
import select

from ..drivers.thread import Client
from ..link.references import is_container, open_path
from ..supervise import detached, etc_files, kernel
from ..supervise.caller import ForeignProcError, own_network
from ..supervise.filter import Machine, assemble_filter
from ..supervise.supervisor import Supervisor
from ..wire.messages import NamespaceRef
from .arguments import OPTIONS_AT_BIRTH, at_birth, parse, stock_size
from .command import Command
from .launch import run_program
from .messages import FailureError, say, usage_error
from .patience import say_if_long
from .presence import expect_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_OPTIONS: dict[str, bool] = {**OPTIONS_AT_BIRTH, "--stock": True}
_STDERR = 2
_LINE_MS = 1000
_WHY_NOT = {
    errno.EBUSY: "nsbroker-get run (or another seccomp supervisor) runs this program already, and the kernel allows "
    "only one: leave out the inner run",
    errno.EINVAL: "this kernel is too old for run, which needs Linux 5.19 (SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)",
    errno.ENOSYS: "this kernel has no seccomp, which run needs (CONFIG_SECCOMP_FILTER)",
}


def run(command: Command) -> int:
    """Start a supervisor, then execute the program under its filter."""
    given, program = parse(command.args, _OPTIONS)
    if not program:
        raise usage_error("run needs a command to run, after --")
    machine = kernel.this_machine()
    if machine is None:
        raise FailureError(f"run works on x86-64 and arm64, not on {os.uname().machine}")
    options = at_birth(given)
    size = stock_size(given)
    _expect_own_proc()
    # The supervisor leaves this directory.
    client = Client(os.path.abspath(command.client.path), command.client.timeout, stock=size)
    say_if_long(client, command.namespace, command.wait_s)
    namespace = _namespace(command, client)
    texts = _texts_of_container(client, namespace) if isinstance(namespace, str) and is_container(namespace) else {}
    supervision = _start_supervisor(
        lambda listener: Supervisor(machine, listener, client, namespace, options, _say_in_time), namespace
    )
    if isinstance(namespace, str):
        for warning in etc_files.use_files_of(namespace, texts):
            say(warning)
    _put_under_filter(machine, supervision)
    run_program(program, [], [])


def _say_in_time(line: str) -> None:
    """Write a line, unless standard error stays full. A program waits meanwhile, and may be the one that reads it."""
    poll = select.poll()
    poll.register(_STDERR, select.POLLOUT)
    if poll.poll(_LINE_MS):
        say(line)


def _namespace(command: Command, client: Client) -> NamespaceRef:
    """Check that the broker grants sockets there, since the program itself would see only an errno.

    Raises:
        OSError: there is no broker, no namespace or no grant.
    """
    if "/" in command.namespace:
        # Opened once, since the path may lead to another namespace later.
        namespace = open_path(command.namespace)
        expect_namespace(client, namespace, 0)
        return namespace
    if command.namespace not in [name for name, _ in client.namespaces().namespaces]:
        expect_namespace(client, command.namespace, command.wait_s)
    return command.namespace


def _texts_of_container(client: Client, container: str) -> dict[str, str]:
    """Return the texts of a container's files by their paths, without which names may leak."""
    try:
        files = client.resolver_files(container)
    except OSError as error:
        say(f"names may be looked up outside of {container}, since its files can't be read: {error.strerror or error}")
        return {}
    return {"/etc/resolv.conf": files.resolv_conf, "/etc/hosts": files.hosts}


def _expect_own_proc() -> None:
    try:
        own_network()
    except ForeignProcError as error:
        raise FailureError(
            "run needs the /proc of its own pid namespace, to find the programs there: mount it, "
            "for example by unshare --mount-proc"
        ) from error


def _start_supervisor(make: Callable[[int], Supervisor], namespace: NamespaceRef) -> detached.Supervision:
    def serve(listener: int, caller: int, ready: Callable[[], None], caller_ended: Callable[[], None]) -> None:
        make(listener).serve(caller, ready, caller_ended)

    try:
        return detached.start(serve, [namespace] if isinstance(namespace, int) else [])
    except OSError as error:
        raise FailureError(f"can't start the supervisor: {error.strerror}") from error


def _put_under_filter(machine: Machine, supervision: detached.Supervision) -> None:
    try:
        kernel.set_no_new_privs()
        listener = kernel.install_filter(machine, assemble_filter(machine))
    except OSError as error:
        text = _WHY_NOT.get(error.errno or 0, f"the kernel refuses a seccomp filter: {error.strerror}")
        raise FailureError(text) from error
    try:
        supervision.take_listener(listener)
    except (OSError, detached.LostSupervisorError) as error:
        raise FailureError(
            f"the supervisor ended before it was ready: {error} (ulimit -a shows your limits)"
        ) from error
