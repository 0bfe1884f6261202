"""Long computations in parts, each of which another process or machine can take: which part, its lock, its file."""
