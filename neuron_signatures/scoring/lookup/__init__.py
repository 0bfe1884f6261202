"""The explainer without a language model: the smallest set of tokens and n-grams that explains the activations."""
