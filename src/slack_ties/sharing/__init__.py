"""Recipes of others: search, pull, adapt, verify."""
