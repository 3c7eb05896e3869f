"""Analyse merges without writing a model: report, compare, tune."""
