"""The soak: an hour of good and hostile users, while everything around the broker changes. `hour.soak` runs it."""
