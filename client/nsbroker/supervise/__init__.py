"""Runs an unmodified program whose network sockets all come from the broker: what is behind `nsbroker-get NS run`.

The program's socket(2) calls are held by a seccomp filter (`filter`), told to a process of ours (`supervisor`), and
answered with a descriptor from the broker. No other call is touched: what a program does with its sockets runs at full
speed. It is a convenience for programs that cooperate, not a wall around ones that do not.
"""
