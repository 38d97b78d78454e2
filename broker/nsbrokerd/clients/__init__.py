"""The connected clients: who they are, what they take up, and how their connections and descriptors are closed."""
