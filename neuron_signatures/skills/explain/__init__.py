"""Explanations of units: from files, from the run's own explanations, and from Neuronpedia."""
