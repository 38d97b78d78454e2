"""Coverage-guided fuzzing of everything that reads bytes of others: one module of `targets` for each kind of input.

`tests/fuzz/run` runs it, and README.md says how. Without atheris, `tests/unit/fuzz` still checks the kept inputs.
"""
