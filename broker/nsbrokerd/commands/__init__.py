"""The commands beside serve: check, explain, sockets, revoke. No other room imports them."""
