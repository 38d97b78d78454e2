"""One request: its operation, its audit record and its reply. Imports sockets, clients, namespaces and policy."""
