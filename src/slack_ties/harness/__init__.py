"""Score models on tasks with lm-eval; the only room that imports lm_eval."""
