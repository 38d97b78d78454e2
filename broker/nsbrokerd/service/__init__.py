"""One broker from start to end: start, reload, listener, log, service manager. Imports every room but commands."""
