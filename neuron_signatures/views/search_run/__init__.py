"""Search in a run, as both viewers ask for it and show it."""
