"""Look at the installation: is there all that a merge needs, and what else is missing?"""
