"""Many merges by one command: a list of tasks, and the engines that work on them."""
