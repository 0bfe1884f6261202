"""Predict a neuron's activations on texts from an explanation, without a language model."""
