"""Signs by which an administrator and a service manager see the state: priorities, status, watchdog, rotation."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from nsbroker.wire import OVERLOADED, NamespacesRequest, encode_request
from support.brokers.process import EVERYTHING, START_S, BrokerProcess
from support.brokers.raw_client import RawClient, tcp
from support.namespaces import why_not
from support.waiting import wait_until

FULL = Path("/dev/full")
BROKEN = "[[grant]]\nname = 1\n"


@pytest.fixture(autouse=True)
def _needs_namespaces() -> None:
    if reason := why_not():
        pytest.skip(reason)


def works(broker: BrokerProcess) -> bool:
    with RawClient(broker) as client:
        return client.works()


class Journaled(BrokerProcess):
    """A broker whose standard error is the journal, as far as it can tell. The audit goes there, too."""

    def configure(self, grants: str, settings: str = "") -> None:
        super().configure(grants, settings)
        text = self.config_path.read_text()
        self.config_path.write_text(text.replace(f'path = "{self.audit_path}"', ""))

    def environment(self) -> dict[str, str]:
        status = self.log_path.stat()
        return {**super().environment(), "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}


def test_lines_for_the_journal_have_priorities() -> None:
    """Errors have 3, refusals 5, hand-outs 6, and lists 7. The level in the record says the same."""
    broker = Journaled(EVERYTHING)
    try:
        broker.start()
        with RawClient(broker) as client:
            assert client.works()
            client.refusal(tcp("no such namespace"))
            client.send(NamespacesRequest(7))
            client.receive()
        broker.configure(BROKEN)
        broker.reload()
        lines = broker.log().splitlines()
    finally:
        broker.close()
    found = {(line[:3], (one := json.loads(line[3:]))["level"], one.get("audit", one.get("event"))) for line in lines}
    assert found >= {
        ("<6>", "info", "serving"),
        ("<6>", "info", "open"),
        ("<5>", "notice", "open"),
        ("<7>", "debug", "namespaces"),
        ("<3>", "error", "reload failed"),
    }
    assert all("time" in json.loads(line[3:]) for line in lines)


def test_status_tells_of_a_failed_reload_until_one_succeeds(broker: BrokerProcess) -> None:
    broker.configure(BROKEN)
    status = broker.reload()
    assert "serving (grants: 1" in status
    assert f"the last reload: failed, so the former policy is in force: {broker.config_path}:" in status
    broker.configure(EVERYTHING)
    assert "failed" not in broker.reload()


def test_sigusr1_opens_the_audit_anew_whatever_the_configuration_says(broker: BrokerProcess) -> None:
    assert works(broker)
    moved = broker.audit_path.rename(broker.directory / "audit.1")
    broker.configure(BROKEN)
    os.kill(broker.pid, signal.SIGUSR1)
    wait_until(lambda: "opened the audit anew" in broker.log() or "reload failed" in broker.log())
    assert works(broker)
    assert len(moved.read_text().splitlines()) == len(broker.audit()) == 1


def test_audit_that_cant_be_opened_anew_goes_on_in_the_former_file(broker: BrokerProcess) -> None:
    moved = broker.audit_path.rename(broker.directory / "audit.1")
    broker.audit_path.mkdir()
    os.kill(broker.pid, signal.SIGUSR1)
    wait_until(lambda: "can't open the audit anew" in broker.log())
    assert works(broker)
    assert len(moved.read_text().splitlines()) == 1


def test_audit_on_a_full_disk_is_refused_clearly_and_shown(broker: BrokerProcess) -> None:
    """Each operation gets the same refusal. The log has one error, and the status the fault until it is repaired."""
    broker.audit_path, former = FULL, broker.audit_path
    broker.configure(EVERYTHING)
    broker.reload()
    with RawClient(broker) as client:
        for request in (encode_request(tcp("@host")), encode_request(NamespacesRequest(2))):
            for _ in range(20):
                refusal = client.refusal(request)
                assert (refusal.code, "audit can't be written: No space left" in refusal.message) == (OVERLOADED, True)
    wait_until(lambda: '"event": "fault"' in broker.log(), 20)
    broker.audit_path = former
    broker.configure(EVERYTHING)
    assert "the audit: can't be written" in broker.reload()
    assert works(broker)
    wait_until(lambda: '"event": "repaired"' in broker.log())
    assert broker.log().count("the audit") == 2


class Watched(BrokerProcess):
    def environment(self) -> dict[str, str]:
        return {**super().environment(), "WATCHDOG_USEC": "200000"}


def test_watchdog_hears_from_the_loop_again_and_again() -> None:
    broker = Watched(EVERYTHING)
    try:
        broker.start()
        for _ in range(5):
            broker.wait_for("WATCHDOG=1", START_S)
        with RawClient(broker) as client:  # also while it is busy
            assert client.works()
            broker.wait_for("WATCHDOG=1", START_S)
    finally:
        broker.close()


def test_grant_for_a_deleted_user_keeps_no_one_out() -> None:
    """The broker starts, and the log names the grant and its place. `check` fails."""
    stale = EVERYTHING.replace('"everything"', '"stale"').replace('"*"]\nnam', '"nosuchuser"]\nnam')
    broker = BrokerProcess(stale + EVERYTHING)
    try:
        broker.start()
        assert works(broker)
        [line] = [line for line in map(json.loads, broker.log().splitlines()) if line["event"] == "left out"]
        assert (line["level"], line["key"]) == ("warning", "grant 'stale'.users")
        assert "there is no user 'nosuchuser'" in line["reason"]
        at = broker.config_path.read_text().splitlines().index('users = ["nosuchuser"]') + 1
        assert line["line"] == at
        check = [*broker.command()[:-3], "check", *broker.command()[-2:]]
        done = subprocess.run(check, capture_output=True, text=True, check=False, timeout=START_S)
        assert (done.returncode, f"{broker.config_path}:{at}: grant 'stale'.users: " in done.stderr) == (1, True)
    finally:
        broker.close()
