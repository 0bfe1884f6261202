"""Circuits in the attribution-graph JSON of public viewers: writing, reading, and the examples of each neuron."""
