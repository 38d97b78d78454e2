"""Changes that break a guarantee each, and the tests that must notice. `tests/run --mutants` tries them."""
