"""Read weights from the Hub while they are merged, and keep none of them on this disk."""
