"""What the two viewers show, as plain values computed from a run folder: no widget, no model, no network."""
