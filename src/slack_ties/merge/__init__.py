"""Run a merge: models in, one model folder out."""
