"""The client's room `proxy`: who may use it, where its connections are made, and whose bytes they carry."""

from __future__ import annotations

from .guarantee import Guarantee, Mutant

_KERNEL = "tests/kernel/client/proxy"
_UNIT = "tests/unit/client/proxy"

GUARANTEES = (
    Guarantee(
        "proxy-is-for-its-user",
        (
            Mutant(
                "client/nsbroker/proxy/listeners.py",
                "        if uid != self._own_uid:\n",
                "        if uid == -1:\n",
                (f"{_KERNEL}/test_own_user.py::test_another_user_is_closed_out",),
            ),
            Mutant(
                "client/nsbroker/proxy/listeners.py",
                '            return f"refused a connection whose user can\'t be looked up: {error.strerror}"\n',
                "            return None\n",
                (f"{_KERNEL}/test_own_user.py::test_look_up_that_fails_later_lets_nobody_in",),
            ),
            Mutant(
                "client/nsbroker/proxy/listeners.py",
                "        if not _is_loopback(family, address[0]):\n",
                "        if not address[0]:\n",
                (f"{_UNIT}/test_listeners.py::test_address_that_others_can_reach_is_refused",),
            ),
            Mutant(
                "client/nsbroker/proxy/listeners.py",
                "_OWN_MODE, _ANY_MODE = 0o600, 0o666",
                "_OWN_MODE, _ANY_MODE = 0o666, 0o666",
                (f"{_UNIT}/test_listeners.py::test_file_of_a_unix_socket_is_for_its_owner_alone",),
            ),
            Mutant(
                "client/nsbroker/proxy/listeners.py",
                "        if found != self._own_uid:\n",
                "        if found == -1:\n",
                (f"{_UNIT}/test_listeners.py::test_without_sock_diag_the_proxy_does_not_listen",),
            ),
            Mutant(
                "client/nsbroker/proxy/peers.py",
                "    if state not in _OPEN_STATES or not inode:\n",
                "    if state < 0:\n",
                (
                    f"{_UNIT}/test_peers.py::test_socket_that_its_process_closed_has_no_owner",
                    f"{_KERNEL}/test_own_user.py::test_request_of_a_user_who_is_gone_is_never_served",
                ),
            ),
            Mutant(
                "client/nsbroker/proxy/peers.py",
                "    if sockid[: _SOCKID.size] not in (",
                "    if not sockid and sockid[: _SOCKID.size] not in (",
                (f"{_UNIT}/test_peers.py::test_another_socket_is_not_the_peer",),
            ),
            Mutant(
                "client/nsbroker/proxy/peers.py",
                "        connection.getpeername()\n        return owner_in(",
                "        return owner_in(",
                (f"{_UNIT}/test_peers.py::test_next_owner_of_a_port_is_not_the_peer",),
            ),
            Mutant(
                "client/nsbroker/proxy/peers.py",
                "        return uid != overflow or file.read().split() == _ALL_UIDS\n",
                "        return uid != overflow or bool(file.read())\n",
                (f"{_UNIT}/test_listeners.py::test_user_is_not_looked_up_where_several_have_one_number",),
            ),
        ),
    ),
    Guarantee(
        "proxy-stays-inside",
        (
            Mutant(
                "client/nsbroker/proxy/server.py",
                "                return await run(dial(self._place, target))\n",
                "                server = socket.create_connection(target)\n"
                "                server.setblocking(False)\n"
                "                return server\n",
                (f"{_KERNEL}/test_stays_inside.py::test_loopback_address_is_that_of_the_namespace",),
            ),
            Mutant(
                "client/nsbroker/proxy/dialing.py",
                "    return connect_tcp(place, target.host, target.port)\n",
                "    return connect_tcp(place, socket.gethostbyname(target.host), target.port)\n",
                (f"{_KERNEL}/test_stays_inside.py::test_name_that_only_the_machine_knows_is_unknown",),
            ),
            Mutant(
                "client/nsbroker/proxy/handshake.py",
                "    if not 1 <= len(host) <= MAX_HOST_BYTES:\n",
                "    if len(host) > MAX_HOST_BYTES:\n",
                (f"{_UNIT}/test_socks.py::test_name_that_is_no_host_is_refused",),
            ),
        ),
    ),
    Guarantee(
        "proxy-mixes-no-requests",
        (
            Mutant(
                "client/nsbroker/proxy/tunnel.py",
                'memoryview(b"" if self._body.is_complete else self._body.forward(bytes(data)))',
                "data if self._body.is_complete else memoryview(self._body.forward(bytes(data)))",
                (f"{_KERNEL}/test_data.py::test_plain_request_ends_with_its_answer",),
            ),
            Mutant(
                "client/nsbroker/proxy/http.py",
                'dropped = _HOP_BY_HOP | ({word.strip().lower() for word in named.split(b",")} - _FRAMING)',
                'dropped = _HOP_BY_HOP | {word.strip().lower() for word in named.split(b",")}',
                (f"{_UNIT}/test_http.py::test_fields_for_the_proxy_are_not_passed_on",),
            ),
            Mutant(
                "client/nsbroker/proxy/http.py",
                '            raise self._refused(400, "a client sent CONNECT with a body")\n',
                "            pass\n",
                (f"{_UNIT}/test_http.py::test_connect_has_no_body",),
            ),
            Mutant(
                "client/nsbroker/proxy/http.py",
                "            raise self._refused(400, _NO_PROXY_REQUEST)\n",
                '            request.target = _SCHEME + dict(request.headers)[b"host"] + request.target\n',
                (f"{_UNIT}/test_http.py::test_request_to_the_proxy_itself_is_refused",),
            ),
            Mutant(
                "client/nsbroker/proxy/tunnel.py",
                "    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)\n",
                "",
                (
                    f"{_KERNEL}/test_data.py::test_reset_by_the_server_is_one_for_the_client",
                    f"{_KERNEL}/test_data.py::test_reset_by_the_client_is_one_for_the_server",
                    f"{_KERNEL}/test_hostile.py::test_connections_that_do_not_end_are_reset",
                    f"{_KERNEL}/test_hostile.py::test_kill_resets_all_connections",
                ),
            ),
        ),
    ),
)
