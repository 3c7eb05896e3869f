"""Plan a merge: what it would do, what it costs, and what is wrong with it."""
