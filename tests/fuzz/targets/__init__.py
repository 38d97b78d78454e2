"""The targets: each module checks one kind of input. A module that you add is a target.

A test of the fuzzer itself adds targets of a directory that NSBROKER_FUZZ_TARGETS names.
"""

import os

__path__ += filter(None, [os.environ.get("NSBROKER_FUZZ_TARGETS")])
