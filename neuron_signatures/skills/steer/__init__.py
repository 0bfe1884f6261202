"""`--mode steer`: the units of a class are raised on texts that they were not chosen on, beside control units."""
