"""Evidence on a real model and real languages."""
