"""Runs pytest on a file or directory, and writes each outcome: `python run_pytest.py ARGUMENT...`."""

import sys
import traceback

import events
from steps import EXIT, IMPORT

events.start(IMPORT)
try:
    prelude = events.run_prelude()
    import pytest
except BaseException:
    events.end(IMPORT, "failed", traceback.format_exc())
    raise
events.end(IMPORT, "passed")


class Watch:
    """A plugin of pytest."""

    def pytest_collection_modifyitems(self, items):
        items[:] = [item for item in items if events.is_wanted(item.nodeid)]

    def pytest_collectreport(self, report):
        if report.outcome != "passed":
            events.end(f"(collect) {report.nodeid}", report.outcome, str(report.longrepr))

    def pytest_runtest_logstart(self, nodeid, location):
        self.outcome, self.text = "passed", ""
        events.start(nodeid)

    def pytest_runtest_logreport(self, report):
        if report.outcome != "passed" and self.outcome != "failed":
            self.outcome, self.text = report.outcome, str(report.longrepr)

    def pytest_runtest_logfinish(self, nodeid, location):
        events.end(nodeid, self.outcome, self.text)


status = pytest.main([*sys.argv[1:], "-p", "no:cacheprovider"], plugins=[Watch(), *prelude.get("PLUGINS", ())])
events.start(EXIT)
raise SystemExit(status)
