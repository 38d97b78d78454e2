"""The control socket: tells the broker's status, and takes a reload from root. Imports only clients.

`server` is the broker's side, `asking` the side of the commands, and `packets` what both agree on.
"""
