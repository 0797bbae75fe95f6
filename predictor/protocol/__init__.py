"""Wire formats to queries, and answers to wire formats. Pure functions; no server is needed."""
