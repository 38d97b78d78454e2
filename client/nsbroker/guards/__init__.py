"""Refuses code of this process that would leave its namespace: libraries and look-ups in C. Imports names and link.

`patching` and the event loops of `adapters` have a guard each: one table of libraries, one audit hook, the same checks.
"""
