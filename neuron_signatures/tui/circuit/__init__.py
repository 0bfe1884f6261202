"""The circuit of a prediction: a tree of signed edges from the logit downwards, and a grid of layers and positions."""
