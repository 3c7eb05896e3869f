"""Bring the models of a merge onto this disk and into memory, and choose the tasks to run."""
