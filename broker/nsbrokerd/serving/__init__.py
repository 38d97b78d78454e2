"""Which client is next, and when: the event loop's side of a request. Imports requests, clients and the rooms below."""
