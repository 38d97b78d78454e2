"""The files that decide a look-up: hosts, resolv.conf, services, and where they come from. Imports nothing above."""
