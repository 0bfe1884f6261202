"""The web explorer: views of a run folder in the browser. Read only; no model, no network."""
