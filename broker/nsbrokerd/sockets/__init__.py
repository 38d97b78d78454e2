"""Makes sockets with the rights of their client, sets them up, and ends them. Imports seal, namespaces and policy."""
