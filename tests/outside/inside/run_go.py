"""Runs the tests of a package of Go's library: `python run_go.py PACKAGE`. They are compiled before."""

import os
import re
import subprocess
import sys

import events
from steps import EXIT, IMPORT

package = sys.argv[1]
program = f"{os.environ['OUTSIDE_PROGRAMS']}/{package.replace('/', '_')}.test"
events.start(IMPORT)
listed = subprocess.run([program, "-test.list", "."], capture_output=True, text=True, check=True).stdout.split()
wanted = [test for test in listed if test.startswith("Test") and events.is_wanted(test)]
root = subprocess.run(["go", "env", "GOROOT"], capture_output=True, text=True, check=True).stdout.strip()
os.chdir(f"{root}/src/{package}")
events.end(IMPORT, "passed")

# One test at a time, so that the last test that began is the one that hangs. Short: no test asks the internet.
command = [program, "-test.v", "-test.short", "-test.parallel=1", f"-test.run=^({'|'.join(wanted)})$"]
tests = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace")
lines, ended = [], 0
for line in tests.stdout:
    # Subtests have a "/" in their names, and their results are indented.
    if began := re.match(r"=== (?:RUN|CONT) +(\w+)$", line):
        events.start(began[1])
        lines = []
    elif result := re.match(r"--- (PASS|FAIL|SKIP): (\w+) ", line):
        word = {"PASS": "passed", "FAIL": "failed", "SKIP": "skipped"}[result[1]]
        events.end(result[2], word, "" if word == "passed" else "".join(lines))
        ended += 1
    else:
        lines.append(line)
tests.wait()
print("".join(lines))
if ended == len(wanted):
    events.start(EXIT)
