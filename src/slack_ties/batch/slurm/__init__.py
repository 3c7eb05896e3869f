"""The engine `slurm`: tasks as one array job of the user's Slurm cluster, by submitit."""
