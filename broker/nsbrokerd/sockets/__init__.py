"""Makes sockets, with the rights of the peer. Imports seal, namespaces and policy."""
