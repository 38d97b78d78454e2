"""Attacks on a broker by users without rights, each as a small program, and their effect on another user.

README.md has the table. `registry` lists the attacks, and `programs/` has one module for each.
"""
