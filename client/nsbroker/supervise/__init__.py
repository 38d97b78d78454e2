"""Runs an unmodified program whose network sockets all come from the broker: the work behind `nsbroker-get NS run`.

A seccomp filter (`filter`) holds each socket(2) of the program, and the few calls that would otherwise show or need
something of the caller's own namespace. A process of ours (`supervisor`) gets the call, and answers it, with a
descriptor from the broker if need be. The kernel runs all other calls without us, so the sockets work at full speed.
This is for programs that cooperate. It is no wall around programs that don't.

It imports drivers, place, link and wire.
"""
