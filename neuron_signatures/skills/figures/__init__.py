"""Pictures of the tables of `compare`: `skills/figures/` of a run. They show no more than the tables hold."""
