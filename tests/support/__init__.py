"""Helpers of the tests. No helper imports a test, and no test imports another test."""
