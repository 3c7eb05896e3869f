"""Models before they are merged: found, looked at, and their files read."""
