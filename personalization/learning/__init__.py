"""What a worker needs and all it may use: frames, jobs, registry, publishing."""
