"""Container engines for tests: a fake that answers anything, and real ones with their own roots and sockets."""
