"""The connection to the broker: sends requests, receives replies with descriptors, and asks again after a restart.

Imports wire.
"""
