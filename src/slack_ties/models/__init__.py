"""Find models, look at them, and read their files, before a merge."""
