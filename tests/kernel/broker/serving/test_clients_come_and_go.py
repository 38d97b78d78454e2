"""Clients come, ask, stall, die and come back, in any order: each request has one reply, and no client leaves a trace.

A model knows the requests of each client that have no reply yet, and the number of connections of each user.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from nsbroker.link.fdpass import lend_packet
from nsbroker.wire import (
    NO_SUCH_NAMESPACE,
    OVERLOADED,
    ErrorReply,
    OpenReply,
    OpenRequest,
    ProtocolError,
    decode_request,
    encode_request,
)
from support.brokers.process import EVERYTHING, BrokerProcess
from support.brokers.raw_client import RawClient, connect_as, tcp
from support.namespaces import PREFIX
from support.process_state import thread_count
from support.users import GROUP, UIDS, start_as_user
from support.waiting import Counters, wait_until

CLIENTS_PER_USER = 4
USERS = st.sampled_from((UIDS[0], UIDS[1]))
WITNESS = UIDS[2]
MISSING = f"{PREFIX}never"
WAITING_FOR_USER = 2
MOST_AT_ONCE = 30
DONTWAIT = int(socket.MSG_DONTWAIT)
# The broker drops no client because this test is slow.
QUOTAS = f"[quotas]\nclients_per_user = {CLIENTS_PER_USER}\nreply_timeout_s = 3600\nrequests_per_second = 1000000\n"

GOOD = encode_request(tcp("@host", "@host", request_id=2**40))
SPOILT = st.one_of(
    st.binary(min_size=1, max_size=40),
    st.sampled_from((b"\xc1", b"", GOOD[:-1], GOOD + b"\0", b"\x91" * 60_000, b"x" * 65537, b"\xa2id" + GOOD)),
    st.builds(
        lambda at, new: GOOD[:at] + new + GOOD[at + 1 :],
        st.integers(0, len(GOOD) - 1),
        st.binary(min_size=1, max_size=2),
    ),
)


SHARED = 2
"""Descriptors of the watch of mounts that the first sent descriptor opens, and that later ones share."""


class Guest:
    """A client of the model.

    Attributes:
        owed: the ids of its requests without a reply, in their order. None stands for a packet whose id can't be read.
        floating: the ids of requests that wait for a namespace. Their replies come at any time.
        ends: the broker will end the connection, after the replies that it owes.
    """

    def __init__(self, broker: BrokerProcess, uid: int) -> None:
        self.uid = uid
        self.raw = connect_as(uid, broker)
        self.owed: list[int | None] = []
        self.floating: set[int] = set()
        self.ends = False
        self._last_id = 0

    def next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def post(self, packet: bytes, request_id: int | None, fds: tuple[int, ...] = ()) -> bool:
        """Send a packet, and expect its reply. Return whether there was room for it."""
        assert not self.ends
        try:
            lend_packet(self.raw.sock, packet, fds, DONTWAIT)
        except BlockingIOError:
            return False
        if packet or fds:
            self.owed.append(request_id)
        self.ends = request_id is None
        return True

    def read_all(self) -> None:
        """Read all replies: each request has one, and the connection ends only if it must."""
        while self.owed or (self.floating and not self.ends):
            reply = self.raw.receive()
            assert reply is not None, f"the connection ended, and the replies to {self.owed} are missing"
            self.raw.close_fds()
            if reply.request_id in self.floating:
                assert isinstance(reply, ErrorReply)
                assert reply.code in (NO_SUCH_NAMESPACE, OVERLOADED)
                self.floating.remove(reply.request_id)
            else:
                assert reply.request_id == self.owed.pop(0)
        if self.ends:
            while not (ended := self.raw.has_hung_up()) and self.floating:
                self.floating.pop()
            assert ended, "there is a reply to no request"


class ClientsComeAndGo(RuleBasedStateMachine):
    """The model of all clients beside a witness. The broker must always serve the witness."""

    guests = Bundle("guests")

    def __init__(self, broker: BrokerProcess, before: tuple[int, int], witness: RawClient) -> None:
        super().__init__()
        self.broker = broker
        self.before = before
        self.witness = witness
        self.open: list[Guest] = []
        self.namespace_fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def connections(self) -> Counter[int]:
        return Counter(guest.uid for guest in self.open)

    def admitted(self, uid: int) -> Guest | None:
        """Connect, and return the client if it is served."""
        guest = Guest(self.broker, uid)
        try:
            guest.post(encode_request(tcp("@host", request_id=guest.next_id())), 1)
            reply = guest.raw.receive()
        except (ConnectionResetError, BrokenPipeError):
            reply = None
        if isinstance(reply, OpenReply):
            guest.raw.close_fds()
            guest.owed.clear()
            return guest
        assert reply is None or (isinstance(reply, ErrorReply) and reply.code == OVERLOADED)
        guest.raw.close()
        return None

    @rule(target=guests, uid=USERS)
    def come(self, uid: int) -> Any:
        """A user with room for one more connection gets it as soon as earlier ones are dropped, others never."""
        found: list[Guest] = []
        if self.connections()[uid] >= CLIENTS_PER_USER:
            found += filter(None, [self.admitted(uid)])
            self.open += found
            # The broker may have ended a connection on which it got garbage.
            assert not found or any(guest.ends for guest in self.open if guest.uid == uid)
            return found[0] if found else multiple()
        wait_until(lambda: found.extend(filter(None, [self.admitted(uid)])) or bool(found))
        self.open += found
        return found[0]

    @rule(guest=guests, sockets=st.integers(1, 3), name=st.sampled_from(("@host", MISSING, "other", "a/b", "@own")))
    def ask(self, guest: Guest, sockets: int, name: str) -> None:
        if not guest.ends:
            request_id = guest.next_id()
            guest.post(encode_request(tcp(*["@host"] * (sockets - 1), name, request_id=request_id)), request_id)

    @rule(guest=guests)
    def wait_for_a_namespace(self, guest: Guest) -> None:
        if not guest.ends:
            request_id = guest.next_id()
            if guest.post(encode_request(tcp(MISSING, request_id=request_id, wait_s=0.05)), request_id):
                guest.owed.pop()
                guest.floating.add(request_id)

    @rule(guest=guests, packet=SPOILT)
    def send_garbage(self, guest: Guest, packet: bytes) -> None:
        if not guest.ends:
            try:
                request_id: int | None = decode_request(packet).request_id
            except ProtocolError as error:
                request_id = error.request_id
            guest.post(packet, request_id)

    @rule(guest=guests, named=st.integers(0, 3), sent=st.lists(st.booleans(), min_size=1, max_size=4))
    def send_descriptors(self, guest: Guest, named: int, sent: list[bool]) -> None:
        """A request with more descriptors than it names ends the connection. Others are answered by their id."""
        if not guest.ends:
            request_id = guest.next_id()
            packet = encode_request(tcp("@host", *range(named), request_id=request_id))
            fds = tuple(self.namespace_fd if is_namespace else self.pair[0].fileno() for is_namespace in sent)
            guest.post(packet, request_id if len(sent) <= named else None, fds)

    @rule(guest=guests)
    def stall(self, guest: Guest) -> None:
        """Send as much as fits, and leave the replies unread."""
        for _ in range(MOST_AT_ONCE):
            if guest.ends:
                break
            request_id = guest.next_id()
            if not guest.post(encode_request(tcp("@host", request_id=request_id)), request_id):
                break

    @rule(guest=guests)
    def read(self, guest: Guest) -> None:
        guest.read_all()

    @rule(guest=consumes(guests))
    def say_goodbye(self, guest: Guest) -> None:
        """A client that sends no more still gets its replies."""
        with contextlib.suppress(OSError):
            guest.raw.sock.shutdown(socket.SHUT_WR)
        guest.ends = True
        self.leave(guest, read=True)

    @rule(guest=consumes(guests), how=st.sampled_from(("close", "shutdown", "ask")))
    def die(self, guest: Guest, how: str) -> None:
        """Leave with unread replies, and with a request that has just been sent."""
        if how == "ask" and not guest.ends:
            guest.post(GOOD, None, (self.pair[0].fileno(),))
        if how == "shutdown":
            with contextlib.suppress(OSError):
                guest.raw.sock.shutdown(socket.SHUT_RDWR)
        self.leave(guest, read=False)

    @rule(guest=consumes(guests))
    def read_and_leave(self, guest: Guest) -> None:
        self.leave(guest, read=True)

    def leave(self, guest: Guest, *, read: bool) -> None:
        self.open.remove(guest)
        if read:
            guest.read_all()
        guest.raw.close()

    @rule(uid=USERS, requests=st.integers(0, 3))
    def be_killed(self, uid: int, requests: int) -> None:
        """A process connects, asks, and is killed at some time."""
        if self.connections()[uid] < CLIENTS_PER_USER:
            progress = Counters(1)
            child = start_as_user(uid, GROUP, _ask_and_hang, str(self.broker.socket_path), requests, progress)
            wait_until(lambda: progress[0] == 1)
            child.kill()

    @invariant()
    def witness_is_served(self) -> None:
        assert self.witness.works()

    def teardown(self) -> None:
        """All clients leave: the broker has as many descriptors and threads as before, and room for new ones."""
        try:
            for guest in list(self.open):
                self.leave(guest, read=True)
            pid = self.broker.pid
            descriptors, threads = self.before
            wait_until(lambda: self.broker.descriptors() <= descriptors + SHARED and thread_count(pid) <= threads)
            for uid in (UIDS[0], UIDS[1]):
                self.has_room(uid)
        finally:
            for guest in self.open:
                guest.raw.close()
            os.close(self.namespace_fd)
            for end in self.pair:
                end.close()

    def has_room(self, uid: int) -> None:
        """A user whose clients are gone has its whole quota again: of connections, and of requests that wait."""
        with contextlib.ExitStack() as stack:
            admitted = []
            for _ in range(CLIENTS_PER_USER):
                guest = self.admitted(uid)
                assert guest is not None, "the broker still counts a client that is gone"
                admitted.append(guest)
                stack.callback(guest.raw.close)
            assert self.admitted(uid) is None
            # A request that waited for a client that is gone may end a moment later.
            wait_until(lambda: _can_wait(admitted[:WAITING_FOR_USER]))


def _can_wait(guests: list[Guest]) -> bool:
    """Return whether each of these clients can wait for a namespace at the same time."""
    for guest in guests:
        guest.raw.send(tcp(MISSING, request_id=7, wait_s=0.01))
    replies = [guest.raw.receive() for guest in guests]
    return all(isinstance(reply, ErrorReply) and reply.code == NO_SUCH_NAMESPACE for reply in replies)


def _ask_and_hang(path: str, requests: int, progress: Counters) -> None:
    client = RawClient(path)
    with contextlib.suppress(OSError):  # turned away
        for number in range(requests):
            client.send(OpenRequest(number, tcp("@host").sockets))
    progress[0] = 1
    client.sock.recv(1)
    while True:
        socket.socketpair()[0].recv(1)


def test_each_request_has_one_reply_and_no_client_leaves_a_trace(
    start_broker: Callable[..., BrokerProcess], long: bool
) -> None:
    broker = start_broker(EVERYTHING, QUOTAS)
    with connect_as(WITNESS, broker) as witness:
        assert witness.works()
        before = broker.descriptors(), thread_count(broker.pid)
        run_state_machine_as_test(
            lambda: ClientsComeAndGo(broker, before, witness),
            settings=settings(
                max_examples=1000 if long else 20,
                stateful_step_count=30,
                suppress_health_check=list(HealthCheck),
                # A shorter example takes minutes to find if each try waits for a condition in vain.
                phases=(Phase.generate, Phase.shrink) if long else (Phase.generate,),
            ),
        )
