"""The client's room `link`: proofs, restarts, forks, and the errors that a program expects."""

from __future__ import annotations

from .guarantee import Guarantee, Mutant

GUARANTEES = (
    Guarantee(
        "client-compares",
        (
            Mutant(
                "client/nsbroker/link/proof.py",
                "if own != cookie.to_bytes(COOKIE_BYTES, byteorder):",
                "if cookie == 0:",
                (
                    "tests/local/client/drivers/test_open.py::test_wrong_answer_is_an_error_and_leaves_nothing_open[wrong_cookie-WrongNamespaceError-SO_COOKIE]",
                ),
            ),
            Mutant(
                "client/nsbroker/link/proof.py",
                "if get(_SOL_SOCKET, _SO_NETNS_COOKIE, COOKIE_BYTES) != netns.to_bytes(COOKIE_BYTES, byteorder):",
                "if netns == 0:",
                (
                    "tests/local/client/drivers/test_open.py::test_wrong_answer_is_an_error_and_leaves_nothing_open[wrong_netns-WrongNamespaceError-SO_NETNS_COOKIE]",
                ),
            ),
            Mutant(
                "client/nsbroker/link/proof.py",
                "if netns_of.setdefault(spec.namespace, netns) != netns:",
                "if not netns_of.setdefault(spec.namespace, netns):",
                ("tests/local/client/drivers/test_open.py::test_two_namespaces_for_one_name_are_refused",),
            ),
            Mutant(
                "client/nsbroker/link/proof.py",
                "if len(specs) != len(opened):",
                "if not opened:",
                ("tests/local/client/drivers/test_open.py::test_wrong_answer_is_an_error_and_leaves_nothing_open",),
            ),
        ),
    ),
    Guarantee(
        "close-on-exec",
        (
            Mutant(
                "client/nsbroker/link/fdpass.py",
                "_RECEIVE_FLAGS = int(socket.MSG_CMSG_CLOEXEC)",
                "_RECEIVE_FLAGS = 0",
                (
                    "tests/unit/client/link/test_fdpass.py::test_descriptors_are_close_on_exec",
                    "tests/local/client/drivers/test_open.py::test_sockets_come_as_they_were_asked_for",
                ),
            ),
        ),
    ),
    Guarantee(
        "unexpected-descriptors-are-closed",
        (
            Mutant(
                "client/nsbroker/link/fdpass.py",
                "            (give_fd or _close)(fd)\n",
                "            (give_fd or str)(fd)\n",
                ("tests/unit/client/link/test_fdpass.py::test_unexpected_descriptors_are_closed",),
            ),
        ),
    ),
    Guarantee(
        "descriptors-come-before-their-reply",
        (
            Mutant(
                "broker/nsbrokerd/clients/client.py",
                "        channel.hand_over(reply.request_id, files, self._closer, self.person)\n",
                "        if channel.clients_end is None:\n"
                "            self.sock.send(packet, _SEND_FLAGS)\n"
                "        channel.hand_over(reply.request_id, files, self._closer, self.person)\n",
                ("tests/local/broker/clients/test_channel.py::test_descriptors_are_there_before_the_reply",),
            ),
            Mutant(
                "client/nsbroker/link/connection.py",
                "if packet != expected or len(fds) != count:",
                "if len(fds) != count:",
                ("tests/local/client/drivers/test_open.py::test_wrong_answer_is_an_error_and_leaves_nothing_open",),
            ),
        ),
    ),
    Guarantee(
        "replies-go-by-their-ids",
        (
            Mutant(
                "client/nsbroker/link/questions.py",
                "answered = in_flight.pop(reply.request_id, None)",
                "answered = in_flight.popitem()[1]",
                ("tests/local/client/drivers/test_open.py::test_reply_to_another_request_is_refused",),
            ),
            Mutant(
                "client/nsbroker/link/connection.py",
                "if not connection.unanswered and len(self._idle) < MAX_IDLE:",
                "if len(self._idle) < MAX_IDLE:",
                ("tests/local/client/link/test_connection.py::test_late_reply_is_never_taken_for_a_later_one",),
            ),
        ),
    ),
    Guarantee(
        "restart-is-unnoticed",
        (
            Mutant(
                "client/nsbroker/link/broker.py",
                "                except ConnectionLostError as error:\n                    losses += 1\n",
                "                except ConnectionLostError as error:\n                    losses += 9\n",
                ("tests/local/client/link/test_connection.py::test_restarted_broker_is_found_again",),
            ),
            Mutant(
                "client/nsbroker/link/broker.py",
                "                self._pool.clear()\n                await _pause",
                "                await _pause",
                ("tests/local/client/link/test_connection.py::test_restart_with_many_idle_connections_goes_unnoticed",),
            ),
            Mutant(
                "client/nsbroker/link/broker.py",
                "if error.errno not in _RESTARTING or not self._may_be_restarting():",
                "if error.errno in _RESTARTING or not self._may_be_restarting():",
                ("tests/local/client/link/test_connection.py::test_restart_without_a_listener_is_waited_for",),
            ),
            Mutant(
                "client/nsbroker/link/connection.py",
                "        if self._channel is not None:\n            self._channel.close()\n",
                "",
                (
                    "tests/local/client/link/test_connection.py::test_port_is_free_again_when_the_broker_died_between_descriptors_and_reply",
                ),
            ),
        ),
    ),
    Guarantee(
        "releases-work-together",
        (
            Mutant(
                "client/nsbroker/wire/replies.py",
                '        message["peer_group"] = peer_group\n    return pack(message)\n',
                '        message["peer_group"] = peer_group\n    return pack({**message, "new": 1})\n',
                ("tests/kernel/client/link/test_releases.py::test_client_of_the_previous_release_works",),
            ),
            Mutant(
                "client/nsbroker/wire/codec.py",
                "    if request.wait_s:\n",
                "    message['new'] = 1\n    if request.wait_s:\n",
                ("tests/kernel/client/link/test_releases.py::test_broker_of_the_previous_release_works",),
            ),
            Mutant(
                "client/nsbroker/link/broker.py",
                "not error.strerror.startswith(_UNKNOWN_GROUPS):",
                "error.strerror:",
                ("tests/kernel/client/link/test_releases.py::test_broker_of_the_previous_release_works",),
            ),
        ),
    ),
    Guarantee(
        "losses-are-bounded",
        (
            Mutant(
                "client/nsbroker/link/broker.py",
                "if losses > _MOST_LOSSES:",
                "if losses > 100 * _MOST_LOSSES:",
                ("tests/local/client/link/test_connection.py::test_broker_that_dies_of_each_request_is_given_up",),
            ),
        ),
    ),
    Guarantee(
        "connections-have-one-owner",
        (
            Mutant(
                "client/nsbroker/link/connection.py",
                "os.register_at_fork(after_in_child=_close_all)",
                "os.register_at_fork(after_in_child=_open_connections.copy)",
                ("tests/local/client/link/test_connection.py::test_forked_child_has_a_connection_of_its_own",),
            ),
            Mutant(
                "client/nsbroker/link/connection.py",
                "self.owner == (getpid(), geteuid(), getegid())",
                "self.owner[0] == getpid()",
                ("tests/kernel/client/link/test_dropped_privileges.py",),
            ),
        ),
    ),
    Guarantee(
        "waits-have-an-end",
        (
            Mutant(
                "client/nsbroker/link/broker.py",
                "deadline = monotonic() + limit_s",
                "deadline = monotonic() + limit_s + 30",
                (
                    "tests/local/client/link/test_connection.py::test_silent_broker_holds_up_a_thread_no_longer_than_its_timeout",
                ),
            ),
        ),
    ),
    Guarantee(
        "paths-are-opened-by-the-client",
        (
            Mutant(
                "client/nsbroker/link/references.py",
                "spec = spec._replace(namespace=opened[path])",
                "spec = spec._replace(namespace=path.rpartition('/')[2])",
                ("tests/local/client/drivers/test_open.py::test_path_is_opened_by_the_client_and_closed_again",),
            ),
        ),
    ),
    Guarantee(
        "errors-are-the-expected-ones",
        (
            Mutant(
                "client/nsbroker/link/errors.py",
                "class AccessDeniedError(Error, PermissionError):",
                "class AccessDeniedError(Error):",
                ("tests/unit/client/link/test_errors.py",),
            ),
            Mutant(
                "client/nsbroker/link/errors.py",
                'if code == "os-error" and errno is not None:',
                'if code == "os-error" and errno == -1:',
                ("tests/unit/client/link/test_errors.py",),
            ),
        ),
    ),
    Guarantee(
        "own-container-is-proven",
        (
            Mutant(
                "client/nsbroker/link/own_containers.py",
                "        if not _is_process_of(process, container):\n            return None\n",
                "",
                ("tests/local/client/link/test_own_containers.py",),
            ),
            Mutant(
                "client/nsbroker/link/own_containers.py",
                'if os.path.samestat(os.fstat(fd), os.stat("/proc/thread-self/ns/net")):',
                "if False:",
                ("tests/local/client/link/test_own_containers.py",),
            ),
            Mutant(
                "client/nsbroker/link/own_containers.py",
                "    if uid != os.geteuid():\n",
                "    if False:\n",
                ("tests/local/client/link/test_own_containers.py",),
            ),
            Mutant(
                "client/nsbroker/link/asking_engines.py",
                "    if uid != os.geteuid():\n",
                "    if False:\n",
                ("tests/local/client/link/test_own_containers.py::test_socket_of_another_user_is_refused",),
            ),
            Mutant(
                "client/nsbroker/link/engine_answers.py",
                'if (own_name := found["Name"].removeprefix("/")) != name:',
                'if (own_name := found["Name"].removeprefix("/")) and False:',
                ("tests/unit/client/link/test_engine_answers.py::test_container_that_can_not_be_used_is_none",),
            ),
        ),
    ),
    Guarantee(
        "own-container-takes-no-place",
        (
            Mutant(
                "client/nsbroker/link/containers.py",
                "        if all(self._is_own.get(name) is False for name in names):\n",
                "        self._is_own.clear()\n        if all(self._is_own.get(name) is False for name in names):\n",
                (
                    "tests/local/client/link/test_containers.py::test_own_container_never_takes_the_place_of_the_brokers",
                    "tests/local/client/link/test_containers.py::test_container_of_the_broker_never_takes_the_place_of_an_own_one",
                ),
            ),
        ),
    ),
    Guarantee(
        "own-engine-is-bounded",
        (
            Mutant(
                "client/nsbroker/link/asking_engines.py",
                "        if monotonic() >= deadline or not await wait(deadline, ((sock, READ),)):\n",
                "        if not await wait(deadline, ((sock, READ),)):\n",
                ("tests/local/client/link/test_own_containers.py::test_engine_that_answers_byte_by_byte_is_given_up",),
            ),
            Mutant(
                "client/nsbroker/link/asking_engines.py",
                "        if len(data) > MAX_ANSWER_BYTES:\n",
                "        if False:\n",
                ("tests/local/client/link/test_own_containers.py::test_bad_answer_is_named",),
            ),
            Mutant(
                "client/nsbroker/link/asking_engines.py",
                "                if len(texts[sock]) > MAX_ANSWER_BYTES:\n",
                "                if False:\n",
                ("tests/local/client/link/test_own_containers.py",),
            ),
            Mutant(
                "client/nsbroker/link/own_containers.py",
                "        if not stat.S_ISREG(os.fstat(fd).st_mode):\n",
                "        if False:\n",
                ("tests/local/client/link/test_own_containers.py",),
            ),
            Mutant(
                "client/nsbroker/link/own_containers.py",
                "    if len(data) > MAX_FILE_BYTES:\n",
                "    if False:\n",
                ("tests/local/client/link/test_own_containers.py",),
            ),
        ),
    ),
)
