"""Finds network namespaces, by name or by descriptor, and enters them. `netns` is the one file with setns(2).

`engines` asks container engines. Imports only `policy`.
"""
