"""The web explorer: views of a run folder in the browser. It reads; no model, no network, nothing written."""
