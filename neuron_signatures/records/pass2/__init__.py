"""The second pass over a corpus: all activations of chosen neurons, on a sample and on their strongest windows."""
