"""Look at merges without writing a model: report, compare."""
