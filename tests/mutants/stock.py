"""The stock of sockets: in the client's room `link`, and the broker's part of it."""

from __future__ import annotations

from .guarantee import Guarantee, Mutant

_UNIT = "tests/unit/client/link/test_stock.py::"
_KERNEL = "tests/kernel/client/link/test_stock.py::"
_STOCK = "client/nsbroker/link/stock.py"
_LOTS = "client/nsbroker/link/lots.py"

GUARANTEES = (
    Guarantee(
        "stock-is-exact",
        (
            Mutant(
                _STOCK,
                "if status.st_ino == lot.entered.inode and status.st_dev == lot.entered.device:",
                "if status.st_dev == lot.entered.device:",
                (
                    f"{_UNIT}test_name_that_means_another_namespace_is_never_served_from_stock",
                    f"{_KERNEL}test_deleted_namespace_is_never_served_from_stock",
                ),
            ),
            Mutant(
                _STOCK,
                "            status = os.lstat(shelf.path)\n",
                "            status = os.stat(shelf.path)\n",
                (f"{_UNIT}test_symbolic_link_is_never_served_from_stock",),
            ),
            Mutant(
                _LOTS,
                "if sock.getsockopt(_SOL_SOCKET, SO_COOKIE, COOKIE_BYTES) == cookie:",
                "if cookie:",
                (f"{_UNIT}test_descriptor_that_means_another_file_is_neither_used_nor_closed",),
            ),
            Mutant(
                _STOCK,
                "if (socket_type & ~_NONBLOCK, proto) not in _KINDS:",
                "if not socket_type:",
                (f"{_UNIT}test_other_kinds_are_always_fresh",),
            ),
            Mutant(
                _STOCK,
                "if reason is None and not _FREEBIND.issuperset(options):",
                "if reason is None and options is None:",
                (f"{_UNIT}test_namespace_without_a_stock_says_so_once",),
            ),
        ),
    ),
    Guarantee(
        "stock-needs-the-brokers-mounts",
        (
            Mutant(
                _STOCK,
                "        if not reply.peer_group or reply.peer_group not in groups:\n",
                "        if not groups:\n",
                (
                    f"{_UNIT}test_mount_of_another_group_has_no_stock_and_says_so_once",
                    f"{_KERNEL}test_stale_name_is_no_proof",
                ),
            ),
            Mutant(
                _STOCK,
                "        if not any(groups):\n",
                "        if not groups:\n",
                (f"{_UNIT}test_private_mount_has_no_stock_and_says_so_once",),
            ),
            Mutant(
                _STOCK,
                "        if line not in self._said:\n",
                "        if line:\n",
                (f"{_UNIT}test_namespace_without_a_stock_says_so_once",),
            ),
            Mutant(
                "client/nsbroker/wire/peer_groups.py",
                "        if line.startswith(head):\n",
                '        if b" /run/netns " in line:\n',
                ("tests/unit/client/wire/test_peer_groups.py::test_groups_are_those_of_the_mount",),
            ),
            Mutant(
                "broker/nsbrokerd/namespaces/peer_group.py",
                "shared or master\n",
                "master or shared or 1\n",
                ("tests/unit/broker/namespaces/test_peer_group.py::test_group_is_that_of_the_mount",),
            ),
        ),
    ),
    Guarantee(
        "stock-is-bounded",
        (
            Mutant(
                _STOCK,
                "            count = min(shelf.used_lately(now), size)\n",
                "            count = size\n",
                (f"{_UNIT}test_lot_is_no_larger_than_the_use_and_the_size",),
            ),
            Mutant(
                _STOCK,
                "old = bisect_left(self.used, now - _LAST_S)",
                "old = bisect_left(self.used, 0)",
                (f"{_UNIT}test_lot_is_no_larger_than_the_use_of_the_last_second",),
            ),
            Mutant(
                _STOCK,
                "if now < lot.use_until and lot.owner",
                "if lot.owner",
                (f"{_UNIT}test_old_sockets_are_not_used",),
            ),
            Mutant(
                _STOCK,
                "        if sock is None and shelf.claim():\n",
                "        if sock is None and (shelf.claim() or True):\n",
                (
                    f"{_UNIT}test_only_one_call_fills_a_shelf",
                    f"{_UNIT}test_only_one_call_fills_a_shelf_while_another_one_looks_at_the_mounts",
                ),
            ),
            Mutant(
                _LOTS,
                "            if now >= lot.use_until or not lot:\n",
                "            if not lot:\n",
                (
                    f"{_UNIT}test_unused_sockets_are_closed_in_time",
                    f"{_KERNEL}test_stock_keeps_a_deleted_namespace_for_a_moment_only",
                ),
            ),
        ),
    ),
    Guarantee(
        "stock-has-one-owner",
        (
            Mutant(
                _STOCK,
                "lot.use_until and lot.owner == _owner() and",
                "lot.use_until and",
                (
                    f"{_UNIT}test_another_owner_takes_no_stock_along",
                    f"{_KERNEL}test_socket_from_stock_belongs_to_the_user",
                ),
            ),
            Mutant(
                _LOTS,
                "os.register_at_fork(after_in_child=_forget)",
                "",
                (f"{_UNIT}test_fork_takes_no_stock_along",),
            ),
            Mutant(
                _STOCK,
                "class _ThisThread(_local):",
                "class _ThisThread:",
                (f"{_UNIT}test_another_thread_takes_no_stock_along",),
            ),
            Mutant(
                _STOCK,
                "        close_lots(self)\n",
                "",
                (f"{_UNIT}test_closed_stock_is_empty",),
            ),
            Mutant(
                _STOCK,
                "elif owner == _owner() and times_closed == self._times_closed:",
                "else:",
                (
                    f"{_UNIT}test_lot_that_arrives_after_the_close_is_closed",
                    f"{_UNIT}test_change_of_the_owner_during_the_request_leaves_no_stock",
                ),
            ),
            Mutant(
                "client/nsbroker/link/broker.py",
                "        for stock in self._stocks:\n            stock.close()\n",
                "",
                (f"{_KERNEL}test_closed_client_has_no_stock",),
            ),
        ),
    ),
    Guarantee(
        "run-stock-is-exact",
        (
            Mutant(
                _STOCK,
                "        except OSError:\n            pass  # There is no such name any more.\n",
                "        except OSError:\n            return sock\n",
                ("tests/kernel/client/supervise/test_run_stock.py::test_deleted_namespace_is_never_served_from_stock",),
            ),
            Mutant(
                "client/nsbroker/supervise/supervisor.py",
                "client.broker.stock = Stock(self._lines.say, for_all_threads=True)",
                "client.broker.stock = Stock(lambda line: None, for_all_threads=True)",
                ("tests/kernel/client/supervise/test_run_stock.py::test_namespace_without_a_stock_is_named_once",),
            ),
        ),
    ),
    Guarantee(
        "stock-is-recorded",
        (
            Mutant(
                "broker/nsbrokerd/requests/audit.py",
                '\',"stock":true\' if for_stock else ""',
                "''",
                (
                    "tests/unit/broker/requests/test_audit_records.py::test_sockets_for_a_stock_are_recorded_as_such",
                    f"{_KERNEL}test_sockets_from_stock_are_in_the_namespace",
                ),
            ),
            Mutant(
                "broker/nsbrokerd/requests/open.py",
                "        return (yield from self._open_in_steps(received))\n",
                "        return outcome\n",
                (
                    "tests/unit/broker/requests/test_steps.py::test_recalled_request_that_a_reload_denies_meanwhile_is_refused",
                ),
            ),
        ),
    ),
)
