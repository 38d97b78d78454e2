"""Makes sockets with the rights of their client, sets them up, and ends TCP connections of revoked sockets.

Imports seal, namespaces and policy.
"""
