"""Data for both viewers, computed from a run folder as plain values. No widgets, no model, no network."""
