"""The main job on small models, from end to end on this machine: `slack-ties demo`."""
