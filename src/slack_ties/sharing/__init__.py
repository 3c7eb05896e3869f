"""Published recipes: search, pull, adapt, verify."""
