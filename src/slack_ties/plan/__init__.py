"""Know before a merge what it does, what it costs, and what is wrong with it."""
