"""Rankings against real ablations and random sets: the work of `--validate`."""
