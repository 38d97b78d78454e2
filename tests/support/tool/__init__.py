"""`nsbroker-get` as a process, and the shells that complete its command line."""
