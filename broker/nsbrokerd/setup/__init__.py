"""Sets up a host and its grants: files, links, the group, systemd. Imports only config and policy."""
