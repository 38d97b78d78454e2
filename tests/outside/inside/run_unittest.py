"""Runs the tests of a module of CPython's package `test`: `python run_unittest.py MODULE`."""

import importlib
import sys
import traceback
import unittest

import events
from steps import EXIT, IMPORT

MODULE = f"test.{sys.argv[1]}"


def name_of(test: unittest.TestCase) -> str:
    """Return the test's name within its module."""
    return test.id().removeprefix(f"{MODULE}.")


def wanted(suite: unittest.TestSuite) -> unittest.TestSuite:
    """Return the suite without the tests that this run must not run."""
    kept = unittest.TestSuite()
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            kept.addTest(wanted(test))
        elif events.is_wanted(name_of(test)):
            kept.addTest(test)
    return kept


class Result(unittest.TestResult):
    """Writes the outcome of each test when the test has ended. The worst one of its subtests counts."""

    def startTest(self, test):  # noqa: N802  # unittest's name
        super().startTest(test)
        self.outcome, self.text = "passed", ""
        events.start(name_of(test))

    def stopTest(self, test):  # noqa: N802
        super().stopTest(test)
        events.end(name_of(test), self.outcome, self.text)

    def _failed(self, test, error):
        self.outcome, self.text = "failed", "".join(traceback.format_exception(*error))
        if not isinstance(test, unittest.TestCase):  # setUpClass or setUpModule: no test is running
            events.end(str(test), "failed", self.text)

    def addError(self, test, err):  # noqa: N802
        super().addError(test, err)
        self._failed(test, err)

    def addFailure(self, test, err):  # noqa: N802
        super().addFailure(test, err)
        self._failed(test, err)

    def addSubTest(self, test, subtest, err):  # noqa: N802
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._failed(test, err)

    def addSkip(self, test, reason):  # noqa: N802
        super().addSkip(test, reason)
        if getattr(self, "outcome", "passed") == "passed":
            self.outcome, self.text = "skipped", reason
        if not isinstance(test, unittest.TestCase):
            events.end(str(test), "skipped", reason)

    def addExpectedFailure(self, test, err):  # noqa: N802
        super().addExpectedFailure(test, err)
        self.outcome = "failed as expected"

    def addUnexpectedSuccess(self, test):  # noqa: N802
        super().addUnexpectedSuccess(test)
        self.outcome = "passed unexpectedly"


def load() -> unittest.TestSuite:
    """Point the program at the namespace, and return the tests of the module."""
    events.start(IMPORT)
    try:
        events.run_prelude()
        from test import support

        # test_socketserver needs it. Tests that ask a server on the internet fail natively, and so they do not count.
        support.use_resources = ["network"]
        support.verbose = 0
        tests = unittest.defaultTestLoader.loadTestsFromModule(importlib.import_module(MODULE))
    except BaseException as error:
        skipped = type(error).__name__ in ("SkipTest", "ResourceDenied")
        events.end(IMPORT, "skipped" if skipped else "failed", str(error) if skipped else traceback.format_exc())
        raise SystemExit(0 if skipped else 1) from error
    events.end(IMPORT, "passed")
    return tests


# Children of multiprocessing import this file, too.
if __name__ == "__main__":
    wanted(load())(Result())
    events.start(EXIT)
