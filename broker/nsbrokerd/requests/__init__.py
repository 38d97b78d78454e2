"""One request: decide, make, write the audit, answer. Imports sockets, clients, namespaces and policy."""
