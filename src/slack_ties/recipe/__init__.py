"""Read, check and pin merge configs."""
