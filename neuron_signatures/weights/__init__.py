"""What the weights of a model alone say about its neurons: statistics, classes and neighbours."""
