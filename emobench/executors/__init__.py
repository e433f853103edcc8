"""Executors: where cases run. Here in fresh processes, on the machines of a Ray cluster, or under Slurm."""
