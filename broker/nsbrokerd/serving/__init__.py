"""Decides which client is next, takes its packet, and runs the tasks of requests that take long.

Imports requests, clients, namespaces and policy.
"""
