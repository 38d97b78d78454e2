"""One process of the fuzzer: `python -m fuzz.engine PROGRAM TARGET [libFuzzer's arguments]`. libFuzzer ends it itself.

atheris knows the branches of the modules that are imported under its eyes. So no other module of this package imports
code that is checked, except when a target is loaded.
"""

from __future__ import annotations

import sys

import atheris

from . import target

PACKAGES = ["nsbroker", "nsbrokerd", "dns", "tomllib"]


def main(program: str, name: str, options: list[str]) -> None:
    """Fuzz a target. PROGRAM is the file that libFuzzer starts for further processes."""
    with atheris.instrument_imports(include=PACKAGES):
        chosen = target.load(name)
    if (mutate := chosen.mutate) is None:
        atheris.Setup([program, *options], chosen.check)
    else:

        def custom(data: bytes, most: int, seed: int) -> bytes:
            return mutate(data, most, seed, atheris.Mutate)

        atheris.Setup([program, *options], chosen.check, custom_mutator=custom)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
