"""The files that decide a look-up: hosts, resolv.conf and services. Imports only names.errors and wire."""
