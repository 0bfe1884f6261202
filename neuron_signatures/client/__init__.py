"""The client of the HTTP API: what viewers and scripts use to talk to `neuron_signatures.serve`. Needs no torch."""
