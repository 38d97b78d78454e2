"""One broker from start to end: start, reload, stop, listener, log, service manager. Imports all rooms but commands."""
