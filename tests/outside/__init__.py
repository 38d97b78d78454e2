"""Suites of other projects, run inside a namespace and through the product: `tests/run --outside`."""
