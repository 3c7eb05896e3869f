"""The page of a batch: one HTML table of all results, and the CSV behind it."""
