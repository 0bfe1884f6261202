"""The flags of stage 7: one module per mode, with `add_flags`, the names of its flags, and `run`."""
