"""The model that made a run, loaded again and checked to be the same."""
