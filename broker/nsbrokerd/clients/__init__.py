"""The connected clients: identities, quotas, admission, and the closing of connections. Imports policy."""
