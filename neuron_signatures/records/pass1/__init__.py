"""The first pass over a corpus: strongest windows, moments and histograms of all neurons."""
