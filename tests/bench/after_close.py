"""How often a socket is not gone right after its close(): 0 of 1,000 for each measure, idle and beside busy loops.

    PYTHONPATH=tests:tests/bench python -P tests/bench/after_close.py [--tries N]

It needs root and ip. The client is the library, as a user without privileges. With another version's folders on
PYTHONPATH, the script measures that version.
"""

from __future__ import annotations

import argparse
import sys

from place import broker_running, namespaces_made
from support.after_close import MEASURES, busy, count_late
from support.users import as_unprivileged


def main() -> int:
    """Print a line for each measure, and return 1 if a socket was left in any of them."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n", 1)[0])
    parser.add_argument("--tries", type=int, default=1000)
    tries = parser.parse_args().tries
    found = 0
    with namespaces_made(1) as (name,), broker_running() as broker:
        for loops, when in ((0, "idle"), (2, "beside two busy loops")):
            for measure in MEASURES:
                with busy(loops):
                    late = as_unprivileged(count_late, str(broker.socket_path), name, measure, tries)
                print(f"{measure}, {when}: {late} of {tries}", flush=True)
                found += late
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
