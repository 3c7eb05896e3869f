"""Search for the values or the method of a merge, without writing a model: tune."""
