"""The catalogue of languages that have public models to merge."""
