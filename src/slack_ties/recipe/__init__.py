"""A merge config: read, checked, pinned."""
