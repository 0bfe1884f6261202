"""The opened run: where it opens, the cursor, statistics and texts about the neuron, with caches."""
